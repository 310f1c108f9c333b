// Package aws is the port's adapter to Amazon Web Services: groups of EC2 Auto Scaling, the
// groups beneath managed node groups of EKS, and machine images. It owns what is asked of
// AWS, and what is noted there about a run; it decides nothing.
//
// A machine that is replaced is ended inside its group, and the group's size says whether
// another is made. Nothing is detached or put on standby, so that at no point there is a
// machine that belongs to nobody.
package aws

import (
	"context"
	"fmt"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"windlass.dev/internal/cloud"
)

// patience is how long one call may take, with what is tried again.
const patience = 30 * time.Second

// attempts of one call. What still fails is tried again by whoever called.
const attempts = 3

// Cloud is AWS as one identity sees it, in all regions and with all roles that it may take.
type Cloud struct {
	base awssdk.Config

	mu sync.Mutex
	// sessions are by region and role.
	sessions map[[2]string]*session
}

// New returns a cloud for a configuration with credentials. Its region is not used: each
// group has its own.
func New(base awssdk.Config) *Cloud {
	if base.Retryer == nil {
		base.Retryer = func() awssdk.Retryer {
			return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
				o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
					o.MaxAttempts, o.MaxBackoff = attempts, 5*time.Second
				})
			})
		}
	}
	return &Cloud{base: base, sessions: map[[2]string]*session{}}
}

// FromEnvironment finds credentials as the AWS CLI does: in the environment, the shared
// files, a web identity, or from the container's or the machine's own role.
func FromEnvironment(ctx context.Context) (*Cloud, error) {
	base, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of AWS: %w", err)
	}
	return New(base), nil
}

// At returns the AWS that answers for all services at one address and checks no
// credentials, as a development cluster's does.
func At(endpoint string) *Cloud {
	return New(awssdk.Config{BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("unchecked", "unchecked", "")})
}

// session is the clients of one region and role.
type session struct {
	asg *autoscaling.Client
	ec2 *ec2.Client
	eks *eks.Client
	elb *elb.Client
	ssm *ssm.Client

	identity *identity
}

// in returns the session of a region and role, which is made once.
func (c *Cloud) in(region, role string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]string{region, role}
	if s, ok := c.sessions[key]; ok {
		return s
	}
	conf := c.base.Copy()
	conf.Region = region
	provider := conf.Credentials
	if role != "" {
		provider = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(conf), role, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "windlass" })
	}
	who := newIdentity(provider)
	conf.Credentials = who
	s := &session{
		asg: autoscaling.NewFromConfig(conf), ec2: ec2.NewFromConfig(conf), eks: eks.NewFromConfig(conf), elb: elb.NewFromConfig(conf), ssm: ssm.NewFromConfig(conf),
		identity: who,
	}
	c.sessions[key] = s
	return s
}

// identity gives credentials until they expire or are refused.
type identity struct {
	cache *awssdk.CredentialsCache
	// inner is the cache beneath, if there is one.
	inner *awssdk.CredentialsCache
}

func newIdentity(p awssdk.CredentialsProvider) *identity {
	if p == nil {
		p = awssdk.AnonymousCredentials{}
	}
	inner, _ := p.(*awssdk.CredentialsCache)
	// The cache asks once for all who wait, and without the deadline of any of them.
	limited := awssdk.CredentialsProviderFunc(func(ctx context.Context) (awssdk.Credentials, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return p.Retrieve(ctx)
	})
	return &identity{awssdk.NewCredentialsCache(limited), inner}
}

// Retrieve marks what goes wrong, so that nobody takes it for an error of the call that
// needed the credentials.
func (i *identity) Retrieve(ctx context.Context) (awssdk.Credentials, error) {
	c, err := i.cache.Retrieve(ctx)
	if err != nil && !throttles(err) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", cloud.ErrCredentials, err)
	}
	return c, err
}

// forget has the next call ask for new credentials.
func (i *identity) forget() {
	i.cache.Invalidate()
	if i.inner != nil {
		i.inner.Invalidate()
	}
}

// call makes one call of a service, with a deadline of its own.
func call[I, O, P any](ctx context.Context, s *session, do func(context.Context, *I, ...func(*P)) (*O, error), in *I) (*O, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := do(limited, in)
	if err == nil {
		return out, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if expired(err) {
		s.identity.forget()
	}
	return nil, explain(err)
}
