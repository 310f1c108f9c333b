package restore

import (
	"cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

// KeepVolume has a volume stay when its claim is deleted.
type KeepVolume struct {
	Volume string
	// Claim is the UID of the claim that it has to belong to.
	Claim types.UID
}

func (k KeepVolume) String() string { return "keep PersistentVolume/" + k.Volume }

// WriteCredentials puts those of the backup into the Secret of the database. No value that
// is secret is part of it.
type WriteCredentials struct {
	// Secret is written, and one that is missing is not made.
	Secret string
	// From is the Secret that has them; empty for the spec of the restore.
	From string
}

func (w WriteCredentials) String() string { return "write credentials to Secret/" + w.Secret }

// finalizer applies, or gives up, our finalizer. With the UID it can make no namesake.
func finalizer(r *v1alpha1.MattermostRestoreDB, wanted bool) plan.Action {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MattermostRestoreDB"))
	object.SetNamespace(r.Namespace)
	object.SetName(r.Name)
	object.SetUID(r.UID)
	if wanted {
		object.SetFinalizers([]string{v1alpha1.RestoreFinalizer})
	}
	return plan.Apply{Object: object}
}

// Credentials are what is written to the Secret of the database, by its keys: those of a
// Secret's data, or of the spec. As the Mattermost Operator has it, names that the spec
// does not say are the usual ones, and a password that it does not say stays.
func Credentials(spec v1alpha1.MattermostRestoreDBSpec, secret map[string][]byte) map[string]string {
	keys, values := installation.MySQLKeys, map[string]string{}
	if spec.MattermostDBSecret == "" {
		values[keys.User] = cmp.Or(spec.MattermostDBUser, installation.DefaultMySQLUser)
		values[keys.Database] = cmp.Or(spec.MattermostDBName, installation.DefaultMySQLDatabase)
		if spec.MattermostDBPassword != "" {
			values[keys.Password] = spec.MattermostDBPassword
		}
		return values
	}
	for _, key := range []string{keys.User, keys.Password, keys.Database, keys.RootPassword} {
		if value := secret[key]; len(value) > 0 {
			values[key] = string(value)
		}
	}
	return values
}
