package installation

import (
	"crypto/sha256"
	"encoding/hex"

	"windlass.dev/api/installation/v1beta1"
)

// CredentialsAnnotation is on the pods while their credentials are others than
// those with which the installation first ran. So neither an installation that is
// taken over restarts, nor one whose Secrets never change.
const CredentialsAnnotation = "windlass.dev/credentials"

// credentials is a digest of the Secrets that the pods get credentials from; empty
// while one of them is missing.
func credentials(mm *v1beta1.Mattermost, secrets map[string]Secret) string {
	hash := sha256.New()
	for _, name := range References(mm) {
		secret, exists := secrets[name]
		if !exists {
			return ""
		}
		hash.Write([]byte(name + "\x00" + secret.Digest + "\x00"))
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// rotated is the digest that the pods carry; empty for none.
func rotated(s Snapshot, mm *v1beta1.Mattermost) string {
	first, now := s.Mattermost.Status.Credentials, credentials(mm, s.Secrets)
	if now == "" && s.Deployment != nil {
		// One is missing for a moment; the pods keep what they say.
		return s.Deployment.Spec.Template.Annotations[CredentialsAnnotation]
	}
	if first == "" || first == now || mm.Annotations[v1beta1.RotationAnnotation] == "off" {
		return ""
	}
	return now
}

// firstCredentials are kept from when the pods first have all their Secrets.
func firstCredentials(s Snapshot, a assessment) string {
	if first := s.Mattermost.Status.Credentials; first != "" || len(a.Problems) > 0 || s.Deployment == nil {
		return first
	}
	return credentials(a.Mattermost, s.Secrets)
}
