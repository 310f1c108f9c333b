package installation

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"windlass.dev/api/installation/v1beta1"
)

// environment returns the main container's variables. Their order is part of
// the pod template: another one would restart every installation that is taken
// over from the Mattermost Operator.
func environment(mm *v1beta1.Mattermost, secrets map[string]Secret) []corev1.EnvVar {
	env := databaseEnv(mm, secrets)
	env = append(env, fileStoreEnv(mm)...)
	env = append(env, elasticSearchEnv(mm)...)
	env = append(env, generalEnv(mm)...)
	return merge(env, mm.Spec.MattermostEnv)
}

// merge replaces variables in place and appends new ones.
func merge(env, theirs []corev1.EnvVar) []corev1.EnvVar {
	for _, e := range theirs {
		i := slices.IndexFunc(env, func(have corev1.EnvVar) bool { return have.Name == e.Name })
		if i >= 0 {
			env[i] = *e.DeepCopy()
		} else {
			env = append(env, *e.DeepCopy())
		}
	}
	return env
}

func fromSecret(name, secret, key string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key,
	}}}
}

func databaseEnv(mm *v1beta1.Mattermost, secrets map[string]Secret) []corev1.EnvVar {
	switch managedDatabase(mm) {
	case databaseMySQL:
		return mysqlEnv(mm, secrets)
	case databasePostgres:
		return postgresEnv(mm)
	case databaseOther: // Refused before.
	}
	name := externalDatabase(mm)
	facts := secrets[name]
	datasource := keyConnection
	if facts.Has(keyDatasource) {
		datasource = keyDatasource
	}
	if v1alpha1(mm) {
		return v1alpha1DatabaseEnv(name, facts)
	}
	env := []corev1.EnvVar{fromSecret("MM_CONFIG", name, keyConnection), fromSecret(keyDatasource, name, datasource)}
	if facts.Has(keyReplicas) {
		env = append(env, fromSecret(keyReplicas, name, keyReplicas))
	}
	return env
}

// v1alpha1DatabaseEnv is what pods of the older API are told of an external database.
func v1alpha1DatabaseEnv(name string, facts Secret) []corev1.EnvVar {
	var env []corev1.EnvVar
	if facts.Has(keyReplicas) {
		env = append(env, fromSecret(keyReplicas, name, keyReplicas))
	}
	return append(env, fromSecret("MM_CONFIG", name, keyConnection))
}

func fileStoreEnv(mm *v1beta1.Mattermost) []corev1.EnvVar {
	if ClaimName(mm) != "" {
		return []corev1.EnvVar{
			literal("MM_FILESETTINGS_DRIVERNAME", "local"),
			literal("MM_FILESETTINGS_DIRECTORY", dataPath),
		}
	}
	store := s3Of(mm)
	driver := []corev1.EnvVar{literal("MM_FILESETTINGS_DRIVERNAME", "amazons3")}
	where := []corev1.EnvVar{
		literal("MM_FILESETTINGS_AMAZONS3BUCKET", store.bucket),
		literal("MM_FILESETTINGS_AMAZONS3ENDPOINT", store.endpoint),
		literal("MM_FILESETTINGS_AMAZONS3SSL", store.ssl),
	}
	var keys []corev1.EnvVar
	if !store.keyless {
		keys = []corev1.EnvVar{
			fromSecret("MM_FILESETTINGS_AMAZONS3ACCESSKEYID", store.secret, keyAccess),
			fromSecret("MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY", store.secret, keySecret),
		}
	}
	if v1alpha1(mm) {
		return slices.Concat(driver, keys, where)
	}
	return slices.Concat(driver, where, keys)
}

func elasticSearchEnv(mm *v1beta1.Mattermost) []corev1.EnvVar {
	es := mm.Spec.ElasticSearch
	if es.Host == "" {
		return nil
	}
	return []corev1.EnvVar{
		literal("MM_ELASTICSEARCHSETTINGS_ENABLEINDEXING", "true"),
		literal("MM_ELASTICSEARCHSETTINGS_ENABLESEARCHING", "true"),
		literal("MM_ELASTICSEARCHSETTINGS_CONNECTIONURL", es.Host),
		literal("MM_ELASTICSEARCHSETTINGS_USERNAME", es.UserName),
		literal("MM_ELASTICSEARCHSETTINGS_PASSWORD", es.Password),
	}
}

func generalEnv(mm *v1beta1.Mattermost) []corev1.EnvVar {
	env := []corev1.EnvVar{
		literal("MM_PLUGINSETTINGS_ENABLEUPLOADS", "true"),
		literal("MM_METRICSSETTINGS_ENABLE", "true"),
		literal("MM_METRICSSETTINGS_LISTENADDRESS", ":8067"),
		literal("MM_CLUSTERSETTINGS_ENABLE", "true"),
		literal("MM_CLUSTERSETTINGS_CLUSTERNAME", "production"),
		literal("MM_INSTALL_TYPE", "kubernetes-operator"),
	}
	if host(mm) != "" {
		env = append(env, literal("MM_SERVICESETTINGS_SITEURL", "https://"+host(mm)))
	}
	size := int64(defaultMaxFileSize)
	if !mm.Spec.UseServiceLoadBalancer {
		size = maxFileSize(ingressAnnotations(mm)[bodySizeAnnotation])
	}
	env = append(env, literal("MM_FILESETTINGS_MAXFILESIZE", strconv.FormatInt(size, 10)))
	if dedicatedJobServer(mm) {
		// The job server has it too, and runs jobs all the same: its command says so.
		env = append(env, literal("MM_JOBSETTINGS_RUNJOBS", "false"))
	}
	if mm.Spec.LicenseSecret != "" {
		env = append(env, literal("MM_SERVICESETTINGS_LICENSEFILELOCATION", licencePath+"/"+keyLicence))
	}
	return env
}

const (
	mebibyte = 1 << 20
	// defaultMaxFileSize is 1000 MiB, in bytes.
	defaultMaxFileSize = 1000 * mebibyte
	// largestMaxFileSize keeps the number of megabytes from overflowing.
	largestMaxFileSize = 1 << 40
)

// maxFileSize is the largest upload, in bytes, that fits through the ingress
// controller. Only the units M and G are understood; G counts 1000 MiB, as the
// Mattermost Operator has it. Everything else gives the default.
func maxFileSize(bodySize string) int64 {
	if bodySize == "" {
		return defaultMaxFileSize
	}
	number, unit := bodySize[:len(bodySize)-1], bodySize[len(bodySize)-1:]
	factor := map[string]int64{"m": mebibyte, "g": 1000 * mebibyte}[strings.ToLower(unit)]
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || factor == 0 || n < 0 || n > largestMaxFileSize/factor {
		return defaultMaxFileSize
	}
	return n * factor
}
