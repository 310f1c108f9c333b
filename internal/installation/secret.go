package installation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
)

// Keys of the Secrets that an installation refers to.
const (
	keyConnection = "DB_CONNECTION_STRING"
	keyDatasource = "MM_SQLSETTINGS_DATASOURCE"
	keyReplicas   = "MM_SQLSETTINGS_DATASOURCEREPLICAS"
	keyCheckURL   = "DB_CONNECTION_CHECK_URL"
	keyAccess     = "accesskey"
	keySecret     = "secretkey"
	keyLicence    = "license"
	// Of the Secret that CloudNativePG makes.
	keyURI              = "uri"
	keyUsername         = "username"
	keyPostgresPassword = "password"
)

// Secret is what is known of a Secret: which keys it has, a digest, and no value.
type Secret struct {
	// Keys that we know, in order.
	Keys []string `json:"keys,omitempty"`
	// Empty are those of them that have no value.
	Empty []string `json:"empty,omitempty"`
	// DatabaseScheme is the scheme of DB_CONNECTION_STRING: postgres, mysql, …
	DatabaseScheme string `json:"databaseScheme,omitempty"`
	// CheckScheme and CheckHost are about DB_CONNECTION_CHECK_URL: its scheme,
	// and whether it names a host. The scheme is empty if it is no URL.
	CheckScheme string `json:"checkScheme,omitempty"`
	CheckHost   bool   `json:"checkHost,omitempty"`
	// Digest changes when a value changes that pods get as a credential. It is keyed
	// by the Secret's name, so that equal values in two of them do not show, and one
	// that is made anew with the same values has the same.
	Digest string `json:"digest,omitempty"`
	// Database is the name of the database in the Secret of a managed MySQL.
	Database string `json:"database,omitempty"`
}

// Has reports whether the key exists, with a value or without.
func (s Secret) Has(key string) bool { return slices.Contains(s.Keys, key) }

// HasValue reports whether the key has a value.
func (s Secret) HasValue(key string) bool { return s.Has(key) && !slices.Contains(s.Empty, key) }

// factsAnnotation carries the facts of a redacted Secret, in the cache only.
const factsAnnotation = "windlass.dev/facts"

// Redact returns a Secret without values that still answers what FactsOf is
// asked. It is how Secrets are cached: what is not in memory cannot leak. A
// cache may hand it a Secret twice, so what is redacted already stays as it is.
func Redact(secret *corev1.Secret) *corev1.Secret {
	if _, redacted := secret.Annotations[factsAnnotation]; redacted && len(secret.Data) == 0 {
		return secret
	}
	content, err := json.Marshal(facts(secret))
	if err != nil {
		panic(err) // A struct of strings is JSON.
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: secret.Name, Namespace: secret.Namespace, UID: secret.UID, ResourceVersion: secret.ResourceVersion,
		Annotations:     map[string]string{factsAnnotation: string(content)},
		OwnerReferences: secret.OwnerReferences, ManagedFields: secret.ManagedFields,
	}}
}

// FactsOf returns what is known of a redacted Secret. Of one that was not
// redacted nothing is known.
func FactsOf(redacted *corev1.Secret) Secret {
	var s Secret
	if err := json.Unmarshal([]byte(redacted.Annotations[factsAnnotation]), &s); err != nil {
		return Secret{}
	}
	return s
}

// knownKeys are the keys that installations read.
var knownKeys = []string{
	keyConnection, keyDatasource, keyReplicas, keyCheckURL, keyAccess, keySecret, keyLicence,
	keyRootPassword, keyUser, keyPassword, keyDatabase, keyURI, keyUsername, keyPostgresPassword,
}

func facts(secret *corev1.Secret) Secret {
	var s Secret
	hash := hmac.New(sha256.New, []byte(secret.Namespace+"/"+secret.Name))
	for _, key := range knownKeys {
		value, ok := secret.Data[key]
		if !ok {
			continue
		}
		// Not what pods get no credential from.
		if key != keyCheckURL && key != keyRootPassword {
			fmt.Fprintf(hash, "%s\x00%d\x00%s", key, len(value), value)
		}
		s.Keys = append(s.Keys, key)
		if len(value) == 0 {
			s.Empty = append(s.Empty, key)
		}
	}
	if len(s.Keys) > 0 {
		s.Digest = hex.EncodeToString(hash.Sum(nil)[:8])
	}
	s.Database = databaseIn(secret, s)
	s.DatabaseScheme, _, _ = strings.Cut(string(secret.Data[keyConnection]), "://")
	if !strings.Contains(string(secret.Data[keyConnection]), "://") {
		s.DatabaseScheme = "" // It is no URL, and may be a password.
	}
	if check, err := url.Parse(strings.TrimSpace(string(secret.Data[keyCheckURL]))); err == nil && s.Has(keyCheckURL) {
		s.CheckScheme, s.CheckHost = check.Scheme, check.Hostname() != ""
	}
	if !known(s.DatabaseScheme) {
		s.DatabaseScheme = otherScheme
	}
	if !known(s.CheckScheme) {
		s.CheckScheme = otherScheme
	}
	return s
}

// databaseIn is the name of the database in the Secret of a managed MySQL; empty in
// another one, where the key may hold anything.
func databaseIn(secret *corev1.Secret, s Secret) string {
	database := string(secret.Data[keyDatabase])
	if s.Has(keyRootPassword) && s.Has(keyUser) && s.Has(keyPassword) && databaseName.MatchString(database) {
		return database
	}
	return ""
}

// databaseName is what a name looks like, unlike a connection string.
var databaseName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// otherScheme stands for every scheme that we do not know: a text before "://"
// need not be a scheme.
const otherScheme = "other"

func known(scheme string) bool {
	return slices.Contains([]string{"", "postgres", "postgresql", "mysql", "http", "https"}, scheme)
}

// References returns the names of the Secrets that decide what is rendered, in
// order and each once.
func References(mm *v1beta1.Mattermost) []string {
	var names []string
	if name := externalDatabase(mm); name != "" {
		names = append(names, name)
	}
	if fs := mm.Spec.FileStore.External; fileStore(mm) == fileStoreExternal && !fs.UseServiceAccount && fs.Secret != "" {
		names = append(names, fs.Secret)
	}
	if mm.Spec.LicenseSecret != "" {
		names = append(names, mm.Spec.LicenseSecret)
	}
	switch managedDatabase(mm) {
	case databaseMySQL:
		names = append(names, mysqlSecret(mm))
	case databasePostgres:
		names = append(names, postgresSecret(mm.Name))
	case databaseOther: // Refused.
	}
	if fileStore(mm) == fileStoreManaged {
		names = append(names, minioSecret(mm))
	}
	slices.Sort(names)
	return slices.Compact(names)
}
