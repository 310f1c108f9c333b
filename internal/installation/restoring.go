package installation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
)

// Restoring is what a restore of its database asks of an installation: no pod of it runs,
// and no upgrade begins. The spec stays as it is, so that everything is as it was once
// nothing is asked any more.
type Restoring struct {
	// By is who asks, as Kind/name.
	By string
	// Database says that it is to start from the backup, of which the rest tells.
	Database      bool
	InitBucketURL string
	Secret        string
	// Replicas of the database from the moment on at which Database is said.
	Replicas int32
}

// running is the installation as it is carried out meanwhile.
func (r *Restoring) running(mm *v1beta1.Mattermost) *v1beta1.Mattermost {
	if r == nil {
		return mm
	}
	mm = mm.DeepCopy()
	mm.Spec.Replicas = new(int32)
	if om := mm.Spec.Database.OperatorManaged; om != nil && r.Database {
		om.Replicas, om.InitBucketURL, om.BackupRestoreSecretName = &r.Replicas, r.InitBucketURL, r.Secret
	}
	return mm
}

// keepImage leaves the pods' template at the image that ran last: which one comes next,
// and what has to be done before, is decided when pods run again.
func (r *Restoring) keepImage(s Snapshot, objects []*unstructured.Unstructured) error {
	deployment := find(objects, s.ref(deploymentKind, s.Name()))
	if r == nil || deployment == nil || s.Deployment == nil {
		return nil
	}
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return fmt.Errorf("read the containers of %s: %w", deployment.GetName(), err)
	}
	for _, item := range containers {
		if c, ok := item.(map[string]any); ok && c["name"] == mainContainer {
			c["image"] = mainImage(s.Deployment)
		}
	}
	return unstructured.SetNestedSlice(deployment.Object, containers, "spec", "template", "spec", "containers")
}

// message is the sentence about an installation that stands still.
func (r *Restoring) message() string {
	return r.By + " restores the database, and until it is done no pod runs. It says how far it is."
}

// ManagedMySQL is a MySQL that is run for an installation, by the names of what it is
// made of.
type ManagedMySQL struct {
	// Cluster is the MysqlCluster.
	Cluster string
	// StatefulSet is what the MySQL operator makes of it, with a claim for each replica
	// whose name is ClaimPrefix and a number.
	StatefulSet, ClaimPrefix string
	// Secret has the names and passwords of its users. Generated says that it is ours.
	Secret    string
	Generated bool
	Replicas  int32
	// InitBucketURL is the backup from which the spec has it start.
	InitBucketURL string
}

// MySQLOf returns the MySQL that is run for an installation with defaults; ok is false
// when it has another database.
func MySQLOf(mm *v1beta1.Mattermost) (my ManagedMySQL, ok bool) {
	if managedDatabase(mm) != databaseMySQL {
		return ManagedMySQL{}, false
	}
	name, om := mysqlName(mm.Name), mm.Spec.Database.OperatorManaged
	my = ManagedMySQL{
		Cluster: name, StatefulSet: name + "-mysql", ClaimPrefix: "data-" + name + "-mysql-",
		Secret: mysqlSecret(mm), Generated: mysqlSecret(mm) == generatedMySQLSecret(mm.Name), InitBucketURL: om.InitBucketURL,
	}
	if om.Replicas != nil {
		my.Replicas = *om.Replicas
	}
	return my, true
}

// MySQLReady reads from a MysqlCluster whether it serves, and what its operator says of it.
func MySQLReady(cluster *unstructured.Unstructured) (ready bool, says string) {
	return companionReady(cluster)
}

// MySQLKind is the kind of a MysqlCluster.
var MySQLKind = mysqlClusterKind

// MySQLKeys are those of the Secret that opens a MySQL.
var MySQLKeys = struct{ RootPassword, User, Password, Database string }{keyRootPassword, keyUser, keyPassword, keyDatabase}

// DefaultMySQLUser and DefaultMySQLDatabase are the names in a MySQL that is made for an
// installation.
const (
	DefaultMySQLUser     = managedDatabaseUser
	DefaultMySQLDatabase = managedDatabaseName
)
