package devcluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is how long certificates hold. A development cluster that is older
// than a year is started anew.
const validity = 365 * 24 * time.Hour

// authority is the cluster's own certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pem         []byte
}

// pair is a certificate with its key, both PEM.
type pair struct{ certificate, key []byte }

// loadAuthority reads the authority from dir, and makes it first if there is none.
func loadAuthority(dir string) (*authority, error) {
	certificateFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	certificate, err := os.ReadFile(certificateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthority(certificateFile, keyFile)
	}
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	return parseAuthority(certificate, key)
}

func parseAuthority(certificate, key []byte) (*authority, error) {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return nil, errors.New("ca.crt holds no certificate")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("ca.crt: %w", err)
	}
	block, _ = pem.Decode(key)
	if block == nil {
		return nil, errors.New("ca.key holds no key")
	}
	private, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("ca.key: %w", err)
	}
	return &authority{certificate: parsed, key: private, pem: certificate}, nil
}

func newAuthority(certificateFile, keyFile string) (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "windlass-development"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	made, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(keyFile, made.key, 0o600), os.WriteFile(certificateFile, made.certificate, 0o600)); err != nil {
		return nil, err
	}
	return parseAuthority(made.certificate, made.key)
}

// server issues a certificate for a server on the loopback interface.
func (a *authority) server(names ...string) (pair, error) {
	return sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "windlass-development-server"},
		DNSNames:    append([]string{"localhost"}, names...),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a)
}

// client issues a certificate with which a user is known to the API server.
func (a *authority) client(user string, groups ...string) (pair, error) {
	return sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a)
}

// sign makes a key and a certificate for it, signed by the authority, or by
// itself when there is none.
func sign(template *x509.Certificate, by *authority) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return pair{}, err
	}
	now := time.Now()
	// A little in the past, for clocks that differ.
	template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(validity)
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	content, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return pair{}, err
	}
	packed, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: content}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: packed}),
	}, nil
}

// write stores the pair as name.crt and name.key.
func (p pair) write(dir, name string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".crt"), p.certificate, 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), p.key, 0o600))
}
