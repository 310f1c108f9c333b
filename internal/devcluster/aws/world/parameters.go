package world

import (
	"strconv"
	"strings"
	"time"
)

// Parameter is one of Systems Manager's parameter store.
type Parameter struct {
	Name, Value, Type, DataType, ARN string
	Version                          int
	LastModifiedDate                 time.Time
	// History has the earlier versions' values.
	History []string `wire:"-"`
}

type PutParameterInput struct {
	Name, Value, Type, DataType, Description string
	Overwrite                                bool
}

type PutParameterOutput struct {
	Version int
	Tier    string
}

func (s *State) PutParameter(in *PutParameterInput) (*PutParameterOutput, error) {
	if in.Name == "" || in.Value == "" {
		return nil, refuse("ValidationException", "a parameter needs a name and a value")
	}
	p, ok := s.Parameters[in.Name]
	switch {
	case ok && !in.Overwrite:
		return nil, refuse("ParameterAlreadyExists", "there is a parameter %s already; use Overwrite", in.Name)
	case !ok && in.Type == "":
		return nil, refuse("ValidationException", "a new parameter needs a type")
	case !ok:
		p = &Parameter{Name: in.Name, Type: in.Type, DataType: in.DataType, ARN: s.arn("ssm", "parameter/"+strings.TrimPrefix(in.Name, "/"))}
		s.Parameters[in.Name] = p
	default:
		p.History = append(p.History, p.Value)
	}
	if p.DataType == "" {
		p.DataType = "text"
	}
	p.Value, p.Version, p.LastModifiedDate = in.Value, p.Version+1, s.Now
	return &PutParameterOutput{p.Version, "Standard"}, nil
}

// parameter finds NAME or NAME:VERSION.
func (s *State) parameter(name string) (*Parameter, error) {
	plain, version, versioned := strings.Cut(name, ":")
	p, ok := s.Parameters[plain]
	if !ok {
		return nil, refuse("ParameterNotFound", "there is no parameter %s", plain)
	}
	if !versioned {
		return p, nil
	}
	n, err := strconv.Atoi(version)
	if err != nil || n < 1 || n > p.Version {
		return nil, refuse("ParameterVersionNotFound", "parameter %s has no version %s", plain, version)
	}
	old := *p
	if n < p.Version {
		old.Value, old.Version = p.History[n-1], n
	}
	return &old, nil
}

type GetParameterInput struct {
	Name           string
	WithDecryption bool
}

type GetParameterOutput struct{ Parameter Parameter }

func (s *State) GetParameter(in *GetParameterInput) (*GetParameterOutput, error) {
	p, err := s.parameter(in.Name)
	if err != nil {
		return nil, err
	}
	return &GetParameterOutput{*p}, nil
}

type GetParametersInput struct {
	Names          []string
	WithDecryption bool
}

type GetParametersOutput struct {
	Parameters        []Parameter
	InvalidParameters []string
}

func (s *State) GetParameters(in *GetParametersInput) (*GetParametersOutput, error) {
	if len(in.Names) == 0 || len(in.Names) > 10 {
		return nil, refuse("ValidationException", "give 1 to 10 names, not %d", len(in.Names))
	}
	out := &GetParametersOutput{}
	for _, name := range in.Names {
		if p, err := s.parameter(name); err == nil {
			out.Parameters = append(out.Parameters, *p)
		} else {
			out.InvalidParameters = append(out.InvalidParameters, name)
		}
	}
	return out, nil
}

type GetParametersByPathInput struct {
	Path           string
	Recursive      bool
	WithDecryption bool
	MaxResults     *int
	NextToken      string
}

type GetParametersByPathOutput struct {
	Parameters []Parameter
	NextToken  string
}

func (s *State) GetParametersByPath(in *GetParametersByPathInput) (*GetParametersByPathOutput, error) {
	prefix := strings.TrimSuffix(in.Path, "/") + "/"
	var all []Parameter
	for _, name := range sorted(s.Parameters) {
		rest, ok := strings.CutPrefix(name, prefix)
		if ok && (in.Recursive || !strings.Contains(rest, "/")) {
			all = append(all, *s.Parameters[name])
		}
	}
	some, next, err := page(all, func(p Parameter) string { return p.Name }, in.NextToken, limit(in.MaxResults, 10))
	return &GetParametersByPathOutput{some, next}, err
}
