package controller

import (
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
)

// configOf reads how to connect to a cluster, and what of it must not be told to anybody.
// Who may write registrations is not to get at more than clusters: no program is run and
// no file is read that a registration names, and nothing is sent to whoever cannot show a
// certificate.
func configOf(secret *corev1.Secret) (*rest.Config, []string, *fleetrotation.Problem) {
	content, has := secret.Data[v1alpha1.FleetClusterKubeconfig]
	if !has {
		return configOfToken(secret)
	}
	kubeconfig, err := clientcmd.Load(content)
	if err != nil {
		// The error may quote what it could not read.
		return nil, nil, unusable("its kubeconfig cannot be read")
	}
	if problem := refuse(kubeconfig); problem != nil {
		return nil, nil, problem
	}
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, nil, unusable("its kubeconfig has no current context with a cluster and a user")
	}
	return config, []string{config.BearerToken, config.Password}, checkServer(config)
}

func configOfToken(secret *corev1.Secret) (*rest.Config, []string, *fleetrotation.Problem) {
	config := &rest.Config{
		Host:            string(secret.Data[v1alpha1.FleetClusterServer]),
		BearerToken:     string(secret.Data[v1alpha1.FleetClusterToken]),
		TLSClientConfig: rest.TLSClientConfig{CAData: secret.Data[v1alpha1.FleetClusterCA]},
	}
	if config.Host == "" || config.BearerToken == "" {
		return nil, nil, unusable("it has neither the key kubeconfig nor the keys server and token")
	}
	return config, []string{config.BearerToken}, checkServer(config)
}

// refuse looks for what would have this process run or read something.
func refuse(kubeconfig *clientcmdapi.Config) *fleetrotation.Problem {
	for _, user := range kubeconfig.AuthInfos {
		switch {
		case user.Exec != nil, user.AuthProvider != nil:
			return unusable("its kubeconfig names a program to get credentials from; use a token or a client certificate")
		case user.TokenFile != "", user.ClientCertificate != "", user.ClientKey != "":
			return unusable("its kubeconfig names a file; put what is in it into the kubeconfig (kubectl config view --flatten)")
		}
	}
	for _, cluster := range kubeconfig.Clusters {
		switch {
		case cluster.CertificateAuthority != "":
			return unusable("its kubeconfig names a file; put what is in it into the kubeconfig (kubectl config view --flatten)")
		case cluster.InsecureSkipTLSVerify:
			return unusable("its kubeconfig does not verify the server; give the server's certificate authority")
		}
	}
	return nil
}

func checkServer(config *rest.Config) *fleetrotation.Problem {
	if server, err := url.Parse(config.Host); err != nil || server.Scheme != "https" || server.Host == "" {
		return unusable("its server is no https address")
	}
	return nil
}

func unusable(why string) *fleetrotation.Problem {
	return &fleetrotation.Problem{Reason: v1alpha1.ReasonInvalidRegistration, Message: "The registration cannot be used: " + why + "."}
}
