package installation

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// GenerateSecret makes a Secret with random values that nobody else knows. One
// that exists is left alone: what it opens was made with its values.
type GenerateSecret struct {
	Namespace, Name string
	Labels          map[string]string
	// Fixed are values that are no secrets, and Random the lengths of those that
	// are, by their keys.
	Fixed  map[string]string
	Random map[string]int
	// Owners is who it is deleted with, if the data is.
	Owners []metav1.OwnerReference
}

func (g GenerateSecret) String() string { return "generate Secret/" + g.Name }

// generated are the Secrets that an installation needs and nobody else makes.
func generated(mm *v1beta1.Mattermost) []GenerateSecret {
	var all []GenerateSecret
	if managedDatabase(mm) == databaseMySQL && mysqlSecret(mm) == generatedMySQLSecret(mm.Name) {
		all = append(all, GenerateSecret{
			Namespace: mm.Namespace, Name: mysqlSecret(mm),
			Fixed:  map[string]string{keyUser: managedDatabaseUser, keyDatabase: managedDatabaseName},
			Random: map[string]int{keyRootPassword: 16, keyPassword: 16},
		})
	}
	if fileStore(mm) == fileStoreManaged && minioSecret(mm) == MinioName(mm.Name) {
		all = append(all, GenerateSecret{
			Namespace: mm.Namespace, Name: minioSecret(mm),
			// As the Mattermost Operator labels it, also for this version of the API.
			Labels: map[string]string{v1alpha1Resource: mm.Name},
			Random: map[string]int{keyAccess: 16, keySecret: 28},
		})
	}
	if deletesData(mm) {
		for i := range all {
			all[i].Owners = []metav1.OwnerReference{ownerReference(mm)}
		}
	}
	return all
}

// generate returns the steps for those generated Secrets that do not exist.
func generate(mm *v1beta1.Mattermost, secrets map[string]Secret) []plan.Step {
	var steps []plan.Step
	for _, g := range generated(mm) {
		if _, exists := secrets[g.Name]; !exists {
			steps = append(steps, plan.Step{Action: g, Why: "does not exist"})
		}
	}
	return steps
}

// checkGenerated returns what is wrong with the Secrets of managed stores: with those
// that the spec names, and with those that exist in place of generated ones.
func checkGenerated(mm *v1beta1.Mattermost, secrets map[string]Secret) []Problem {
	var problems []Problem
	check := func(path, name, named string, keys ...string) {
		if named != "" {
			path += ".secret"
		}
		if _, exists := secrets[name]; exists || named != "" {
			problems = append(problems, checkKeys(path, name, secrets, keys...)...)
		}
	}
	if managedDatabase(mm) == databaseMySQL {
		check("spec.database.operatorManaged", mysqlSecret(mm), mm.Spec.Database.OperatorManaged.Secret, keyRootPassword, keyUser, keyPassword, keyDatabase)
	}
	if fileStore(mm) == fileStoreManaged {
		check("spec.fileStore.operatorManaged", minioSecret(mm), mm.Spec.FileStore.OperatorManaged.Secret, keyAccess, keySecret)
	}
	return problems
}

// setDataOwner makes the installation the owner of what holds data, and so has
// Kubernetes delete it with the installation, if that is asked for.
func setDataOwner(mm *v1beta1.Mattermost, intent *unstructured.Unstructured) {
	if deletesData(mm) {
		setOwner(mm, intent)
	}
}

func setOwner(mm *v1beta1.Mattermost, intent *unstructured.Unstructured) {
	intent.SetOwnerReferences([]metav1.OwnerReference{ownerReference(mm)})
}

func ownerReference(mm *v1beta1.Mattermost) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{
		APIVersion: kindOf(mm).GroupVersion().String(), Kind: kindOf(mm).Kind, Name: mm.Name, UID: mm.UID,
		Controller: &yes, BlockOwnerDeletion: &yes,
	}
}
