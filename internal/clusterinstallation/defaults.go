// Package clusterinstallation decides about installations of the older API. It converts
// each into the Mattermost that it is carried out as, in one place, and leaves all the
// rest to package installation: blue, green and canary are further sets of pods of that
// same Mattermost. It is pure: it reads no cluster, clock or file, and changes none of its
// arguments.
package clusterinstallation

import (
	"strings"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// What spec.blueGreen.productionDeployment may say.
const (
	blue  = "blue"
	green = "green"
)

// mysql is the type of database that is run when none is said.
const mysql = "mysql"

// Default returns a copy whose spec is complete, in the form in which it is stored: a
// size is expanded over what is set and erased, and empty fields are filled, those of
// stores too that exist elsewhere.
func Default(stored *v1alpha1.ClusterInstallation) *v1alpha1.ClusterInstallation {
	ci := stored.DeepCopy()
	spec := &ci.Spec
	mm := installation.Default(&v1beta1.Mattermost{Spec: v1beta1.MattermostSpec{
		Size: spec.Size, Image: spec.Image, Version: spec.Version, ImagePullPolicy: spec.ImagePullPolicy,
		Replicas: set(spec.Replicas), Scheduling: v1beta1.Scheduling{Resources: spec.Resources},
		Database:  v1beta1.Database{OperatorManaged: managedDatabase(spec.Database)},
		FileStore: v1beta1.FileStore{OperatorManaged: managedFileStore(spec.Minio)},
	}}).Spec
	spec.Size, spec.Image, spec.Version, spec.ImagePullPolicy = mm.Size, mm.Image, mm.Version, mm.ImagePullPolicy
	spec.Replicas, spec.Resources = *mm.Replicas, mm.Scheduling.Resources
	database, fileStore := mm.Database.OperatorManaged, mm.FileStore.OperatorManaged
	spec.Database.Type, spec.Database.StorageSize = database.Type, database.StorageSize
	spec.Database.Replicas, spec.Database.Resources = *database.Replicas, database.Resources
	if database.Type == mysql {
		spec.Database.Version = database.Version
	}
	spec.Minio.StorageSize, spec.Minio.Replicas, spec.Minio.Resources = fileStore.StorageSize, *fileStore.Replicas, fileStore.Resources
	defaultSets(ci)
	return ci
}

// defaultSets completes the sets of pods that are asked for.
func defaultSets(ci *v1alpha1.ClusterInstallation) {
	if bg := &ci.Spec.BlueGreen; bg.Enable {
		bg.ProductionDeployment = strings.ToLower(bg.ProductionDeployment)
		for colour, set := range map[string]*v1alpha1.AppDeployment{blue: &bg.Blue, green: &bg.Green} {
			if set.Name == "" {
				set.Name = setName(ci, colour)
			}
			if set.IngressName == "" {
				set.IngressName = colour + "." + ci.Spec.IngressName
			}
		}
	}
	if canary := &ci.Spec.Canary; canary.Enable && canary.Deployment.Name == "" {
		canary.Deployment.Name = setName(ci, "canary")
	}
}

// setName is that of a set of pods when none is said.
func setName(ci *v1alpha1.ClusterInstallation, kind string) string { return ci.Name + "-" + kind }

// DefaultSets are the names that sets of pods have when none is said, whether they are asked for
// or not.
func DefaultSets(ci *v1alpha1.ClusterInstallation) []string {
	return []string{setName(ci, blue), setName(ci, green), setName(ci, "canary")}
}

// set is a number of which 0 means that it is not said.
func set(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return &n
}
