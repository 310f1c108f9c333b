package world

import (
	"strings"
	"time"
)

type AssumeRoleInput struct {
	RoleArn, RoleSessionName, ExternalId string
	DurationSeconds                      *int
}

type AssumeRoleOutput struct {
	Credentials     Credentials
	AssumedRoleUser struct{ Arn, AssumedRoleId string }
}

// Credentials are good for nothing: nothing here looks at who signs.
type Credentials struct {
	AccessKeyId, SecretAccessKey, SessionToken string
	Expiration                                 time.Time
}

func (s *State) AssumeRole(in *AssumeRoleInput) (*AssumeRoleOutput, error) {
	account, role, ok := strings.Cut(strings.TrimPrefix(in.RoleArn, "arn:aws:iam::"), ":role/")
	if !ok || account == in.RoleArn || in.RoleSessionName == "" {
		return nil, invalid("give a RoleSessionName and the RoleArn of a role, not %q", in.RoleArn)
	}
	lasts := value(in.DurationSeconds, 3600)
	if lasts < 900 || lasts > 43200 {
		return nil, invalid("DurationSeconds is %d: want 900 to 43200", lasts)
	}
	out := &AssumeRoleOutput{Credentials: Credentials{s.identify("ASIA"), s.identify(""), s.identify(""), s.Now.Add(seconds(lasts))}}
	out.AssumedRoleUser.Arn = "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + in.RoleSessionName
	out.AssumedRoleUser.AssumedRoleId = "AROAWINDLASS:" + in.RoleSessionName
	return out, nil
}
