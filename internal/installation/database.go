package installation

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"windlass.dev/api/installation/v1beta1"
)

const (
	// Names in the databases that are made for installations.
	managedDatabaseName = "mattermost"
	managedDatabaseUser = "mmuser"
	// What the Mattermost Operator writes into an empty field.
	defaultDatabaseType = "mysql"
	defaultMySQLVersion = "8.0"
	// postgresImage is CloudNativePG's, of which a version is a tag.
	postgresImage = "ghcr.io/cloudnative-pg/postgresql"
	// maxPostgresName is the longest name of a Cluster that CloudNativePG takes.
	maxPostgresName = 50

	mysqlCheck = "init-check-operator-mysql"

	keyRootPassword = "ROOT_PASSWORD"
	keyUser         = "USER"
	keyPassword     = "PASSWORD"
	keyDatabase     = "DATABASE"
)

// managedDatabase is the kind of the database that another operator runs for the
// installation; empty when it is external.
func managedDatabase(mm *v1beta1.Mattermost) databaseKind {
	if externalDatabase(mm) != "" {
		return ""
	}
	if om := mm.Spec.Database.OperatorManaged; om != nil && om.Type != "" && om.Type != defaultDatabaseType {
		if om.Type == string(databasePostgres) {
			return databasePostgres
		}
		return databaseOther
	}
	return databaseMySQL
}

// defaultDatabase completes spec.database, if the database is not external.
func defaultDatabase(spec *v1beta1.MattermostSpec, preset *storePreset) {
	if spec.Database.External != nil && spec.Database.External.Secret != "" {
		return
	}
	if spec.Database.OperatorManaged == nil {
		spec.Database.OperatorManaged = &v1beta1.OperatorManagedDatabase{}
	}
	om := spec.Database.OperatorManaged
	om.Type = cmp.Or(om.Type, defaultDatabaseType)
	om.StorageSize = cmp.Or(om.StorageSize, defaultStorageSize)
	if om.Type == defaultDatabaseType {
		om.Version = cmp.Or(om.Version, defaultMySQLVersion)
	} else if om.Version == defaultMySQLVersion {
		om.Version = "" // The Mattermost Operator writes it for every type.
	}
	preset.fill(&om.Replicas, &om.Resources, sizes[defaultSize].database)
}

// mysqlSecret holds the passwords of a MySQL that is run for the installation.
func mysqlSecret(mm *v1beta1.Mattermost) string {
	if om := mm.Spec.Database.OperatorManaged; om != nil && om.Secret != "" {
		return om.Secret
	}
	return generatedMySQLSecret(mm.Name)
}

func generatedMySQLSecret(name string) string { return name + "-mysql-root-password" }

// mysqlName is that of the MysqlCluster, as the Mattermost Operator has it.
func mysqlName(name string) string {
	sum := md5.Sum([]byte(name))
	return "db-" + hex.EncodeToString(sum[:])[:6]
}

func postgresName(name string) string { return name + "-postgres" }

// postgresSecret is made by CloudNativePG.
func postgresSecret(name string) string { return postgresName(name) + "-app" }

// mysqlHost is the name of one of the Services of a MysqlCluster.
func mysqlHost(mm *v1beta1.Mattermost, service string) string {
	return fmt.Sprintf("%s-%s.%s.svc.cluster.local:3306", mysqlName(mm.Name), service, mm.Namespace)
}

// database returns the resource of the operator that runs the database; nil
// when it is external.
func database(mm *v1beta1.Mattermost) *unstructured.Unstructured {
	om := mm.Spec.Database.OperatorManaged
	switch managedDatabase(mm) {
	case databaseMySQL:
		spec := map[string]any{
			"mysqlVersion": om.Version,
			"replicas":     int64(*om.Replicas),
			"secretName":   mysqlSecret(mm),
			"volumeSpec":   map[string]any{"persistentVolumeClaim": volumeClaim(om.StorageSize)},
		}
		set(spec, "backupSchedule", om.BackupSchedule)
		set(spec, "backupURL", om.BackupURL)
		set(spec, "backupRemoteDeletePolicy", om.BackupRemoteDeletePolicy)
		set(spec, "backupSecretName", cmp.Or(om.BackupSecretName, om.BackupRestoreSecretName))
		if om.InitBucketURL != "" && om.BackupRestoreSecretName != "" {
			set(spec, "initBucketURL", om.InitBucketURL)
			set(spec, "initBucketSecretName", om.BackupRestoreSecretName)
		}
		return managed(mm, mysqlClusterKind, mysqlName(mm.Name), spec)
	case databasePostgres:
		spec := map[string]any{
			"instances": int64(*om.Replicas),
			"storage":   map[string]any{"size": om.StorageSize},
			"bootstrap": map[string]any{"initdb": map[string]any{"database": managedDatabaseName, "owner": managedDatabaseUser}},
		}
		if om.Version != "" {
			spec["imageName"] = postgresImage + ":" + om.Version
		}
		if resources := quantities(om.Resources); len(resources) > 0 {
			spec["resources"] = resources
		}
		return managed(mm, postgresClusterKind, postgresName(mm.Name), spec)
	default:
		return nil
	}
}

// managed is the apply configuration of a resource that another operator turns
// into a store. As it holds data it has no owner, and so outlives the
// installation, unless the data is to be deleted with it.
func managed(mm *v1beta1.Mattermost, kind schema.GroupVersionKind, name string, spec map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetGroupVersionKind(kind)
	object.SetNamespace(mm.Namespace)
	object.SetName(name)
	object.SetLabels(map[string]string{resourceKey(mm): mm.Name})
	setDataOwner(mm, object)
	return object
}

func set(spec map[string]any, field, value string) {
	if value != "" {
		spec[field] = value
	}
}

// volumeClaim is the spec of a claim for one replica of a store.
func volumeClaim(size string) map[string]any {
	return map[string]any{
		"accessModes": []any{string(corev1.ReadWriteOnce)},
		"resources":   map[string]any{"requests": map[string]any{"storage": size}},
	}
}

func quantities(r corev1.ResourceRequirements) map[string]any {
	all := map[string]any{}
	for field, list := range map[string]corev1.ResourceList{"requests": r.Requests, "limits": r.Limits} {
		values := map[string]any{}
		for name, quantity := range list {
			values[string(name)] = quantity.String()
		}
		if len(values) > 0 {
			all[field] = values
		}
	}
	return all
}

func literal(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }

// mysqlEnv connects to a MySQL that is run for the installation. The name of the
// database is the only part of its Secret that is spelled out.
func mysqlEnv(mm *v1beta1.Mattermost, secrets map[string]Secret) []corev1.EnvVar {
	name := cmp.Or(secrets[mysqlSecret(mm)].Database, managedDatabaseName)
	const login = "$(MYSQL_USERNAME):$(MYSQL_PASSWORD)@tcp("
	return []corev1.EnvVar{
		fromSecret("MYSQL_USERNAME", mysqlSecret(mm), keyUser),
		fromSecret("MYSQL_PASSWORD", mysqlSecret(mm), keyPassword),
		literal(keyReplicas, login+mysqlHost(mm, "mysql")+")/"+name+"?readTimeout=30s&writeTimeout=30s"),
		literal("MM_CONFIG", "mysql://"+login+mysqlHost(mm, "mysql-master")+")/"+name+"?charset=utf8mb4,utf8&readTimeout=30s&writeTimeout=30s"),
	}
}

// postgresEnv connects to a PostgreSQL that is run for the installation, and
// reads from its replicas if there are any.
func postgresEnv(mm *v1beta1.Mattermost) []corev1.EnvVar {
	secret := postgresSecret(mm.Name)
	env := []corev1.EnvVar{fromSecret("MM_CONFIG", secret, keyURI), fromSecret(keyDatasource, secret, keyURI)}
	if n := mm.Spec.Database.OperatorManaged.Replicas; n != nil && *n > 1 {
		// The password is CloudNativePG's own, of letters and digits.
		env = append(env,
			fromSecret("POSTGRES_USERNAME", secret, keyUsername),
			fromSecret("POSTGRES_PASSWORD", secret, keyPostgresPassword),
			literal(keyReplicas, fmt.Sprintf("postgres://$(POSTGRES_USERNAME):$(POSTGRES_PASSWORD)@%s-ro.%s:5432/%s?sslmode=require", postgresName(mm.Name), mm.Namespace, managedDatabaseName)))
	}
	return env
}

// mysqlChecks waits for a MySQL that is run for the installation: it answers
// HTTP well enough to be seen.
func mysqlChecks(mm *v1beta1.Mattermost) []corev1.Container {
	return []corev1.Container{{
		Name: mysqlCheck, Image: "appropriate/curl:latest", ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"sh", "-c", "until curl --max-time 5 http://" + mysqlHost(mm, "mysql-master") + "; do echo waiting for mysql; sleep 5; done;"},
	}}
}

// validateDatabase returns what is wrong with spec.database by itself.
func validateDatabase(mm *v1beta1.Mattermost) []Problem {
	const path = "spec.database.operatorManaged."
	var problems []Problem
	invalid := func(field, format string, args ...any) {
		problems = append(problems, Problem{Path: path + field, Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf(format, args...)})
	}
	kind, om := managedDatabase(mm), mm.Spec.Database.OperatorManaged
	switch kind {
	case "":
		return nil
	case databaseMySQL:
	case databaseOther:
		invalid("type", "There is no type %q: use mysql or postgres.", om.Type)
	case databasePostgres:
		if len(postgresName(mm.Name)) > maxPostgresName {
			problems = append(problems, Problem{Path: "metadata.name", Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf("CloudNativePG takes names of up to %d characters, and %q is longer: give the installation a shorter name, or use an external database.", maxPostgresName, postgresName(mm.Name))})
		}
		for field, value := range map[string]string{
			"initBucketURL": om.InitBucketURL, "backupSchedule": om.BackupSchedule, "backupURL": om.BackupURL,
			"backupRemoteDeletePolicy": om.BackupRemoteDeletePolicy, "backupSecretName": om.BackupSecretName, "backupRestoreSecretName": om.BackupRestoreSecretName,
			"secret": om.Secret,
		} {
			if value != "" {
				advice := fmt.Sprintf("make a ScheduledBackup of CloudNativePG for the Cluster %q instead", postgresName(mm.Name))
				if field == "secret" {
					advice = "read the one that CloudNativePG makes, " + postgresSecret(mm.Name)
				}
				invalid(field, "It is for MySQL: remove it, and %s.", advice)
			}
		}
	}
	problems = append(problems, validateStore("spec.database.operatorManaged", databaseReplicas(mm), om.StorageSize)...)
	return sorted(problems)
}

// databaseReplicas are those to validate: one that starts from a dump is made without
// any first, in the older API.
func databaseReplicas(mm *v1beta1.Mattermost) *int32 {
	om := mm.Spec.Database.OperatorManaged
	if wasOlder(mm) && om.InitBucketURL != "" && om.Replicas != nil && *om.Replicas == 0 {
		return nil
	}
	return om.Replicas
}

// validateStore returns what is wrong with the size of a managed store.
func validateStore(path string, replicas *int32, storageSize string) []Problem {
	var problems []Problem
	if replicas != nil && *replicas < 1 {
		problems = append(problems, Problem{Path: path + ".replicas", Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf("The number is %d: want 1 or more.", *replicas)})
	}
	if size, err := resource.ParseQuantity(storageSize); err != nil || size.Sign() <= 0 {
		problems = append(problems, Problem{Path: path + ".storageSize", Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf("%q is not a size: use a number with a unit, such as 50Gi.", storageSize)})
	}
	return problems
}
