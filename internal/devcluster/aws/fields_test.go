package aws

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
)

// TestEveryFieldSurvives sends each action with every parameter that is known, and answers
// it with every field that an answer can have. What the SDK wrote has to be read, and
// what was written has to be read by the SDK. The action itself is not done.
func TestEveryFieldSurvives(t *testing.T) {
	t.Parallel()
	for _, a := range Actions() {
		t.Run(a.Service+"."+a.Name, func(t *testing.T) {
			t.Parallel()
			input, output := a.input(), a.output()
			fill(reflect.ValueOf(input).Elem(), new(int))
			fill(reflect.ValueOf(output).Elem(), new(int))
			seen := make(chan any, 1)
			listener := httptest.NewServer(replay(t, a, output, seen))
			defer listener.Close()

			method := reflect.ValueOf(clientOf(a.Service, listener.URL)).MethodByName(a.Name)
			if !method.IsValid() {
				t.Fatal("the SDK has no such action")
			}
			asked := reflect.New(method.Type().In(1).Elem())
			if err := assign(asked.Elem(), reflect.ValueOf(input).Elem(), "input"); err != nil {
				t.Fatal(err)
			}
			got := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), asked})
			if err, failed := reflect.TypeAssert[error](got[1]); failed {
				t.Fatal(err)
			}
			if diff := cmp.Diff(input, <-seen); diff != "" {
				t.Errorf("the input: %s", diff)
			}
			if err := compare(reflect.ValueOf(output).Elem(), got[0].Elem(), "output"); err != nil {
				t.Error(err)
			}
		})
	}
}

// replay reads one action's input and answers with the output.
func replay(t *testing.T, a Action, output any, seen chan<- any) http.Handler {
	p := protocolsOf(Actions())[a.Service]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if service, _ := signedFor(r); service != a.Service {
			t.Errorf("it is signed for %s", service)
		}
		body, err := readBody(r)
		if err != nil {
			t.Error(err)
		}
		asked, err := p.find(r, body)
		if err != nil {
			p.refuse(w, asError(err), "id")
			return
		}
		if asked.action.Name != a.Name {
			t.Errorf("it is read as %s", asked.action.Name)
		}
		seen <- asked.input
		answer, err := p.encode(a, output, "id")
		if err != nil {
			t.Error(err)
		}
		send(w, http.StatusOK, p.contentType(), answer)
	})
}

func clientOf(service, url string) any {
	config := awssdk.Config{
		Region: "eu-central-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		HTTPClient: Client{}, Retryer: func() awssdk.Retryer { return awssdk.NopRetryer{} },
	}
	return map[string]func() any{
		EC2: func() any { return ec2.NewFromConfig(config) }, AutoScaling: func() any { return autoscaling.NewFromConfig(config) },
		EKS: func() any { return eks.NewFromConfig(config) }, ELB: func() any { return elb.NewFromConfig(config) },
		SSM: func() any { return ssm.NewFromConfig(config) }, STS: func() any { return sts.NewFromConfig(config) },
	}[service]()
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 1, 1, 0, 0, *n, 0, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text <%d>", *n))
	case reflect.Int:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"a": fmt.Sprint(*n), "b": "x"}))
	case reflect.Struct:
		for i := range v.NumField() {
			if onWire(v.Type().Field(i)) {
				fill(v.Field(i), n)
			}
		}
	default:
		panic("nothing on the wire is a " + v.Kind().String())
	}
}

func onWire(f reflect.StructField) bool { return f.Tag.Get("wire") != "-" }

// assign makes the SDK's value of ours.
func assign(to, from reflect.Value, path string) error {
	if from.Kind() == reflect.Pointer {
		from = from.Elem()
	}
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	switch {
	case from.Type() == reflect.TypeFor[time.Time]():
		to.Set(from)
	case from.Kind() == reflect.Struct:
		for i := range from.NumField() {
			if !onWire(from.Type().Field(i)) {
				continue
			}
			name := from.Type().Field(i).Name
			field := to.FieldByName(name)
			if !field.IsValid() {
				return fmt.Errorf("the SDK has no %s.%s", path, name)
			}
			if err := assign(field, from.Field(i), path+"."+name); err != nil {
				return err
			}
		}
	case from.Kind() == reflect.Slice:
		to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
		for i := range from.Len() {
			if err := assign(to.Index(i), from.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case from.CanConvert(to.Type()) && (from.Kind() == reflect.String) == (to.Kind() == reflect.String):
		to.Set(from.Convert(to.Type()))
	default:
		return fmt.Errorf("%s is a %s, and a %s for the SDK", path, from.Type(), to.Type())
	}
	return nil
}

// compare finds where the SDK's value is not what ours says.
func compare(ours, theirs reflect.Value, path string) error {
	want := reflect.New(theirs.Type()).Elem()
	if ours.Kind() != reflect.Struct {
		return fmt.Errorf("%s is a %s", path, ours.Type())
	}
	for i := range ours.NumField() {
		f := ours.Type().Field(i)
		if !onWire(f) {
			continue
		}
		field := theirs.FieldByName(f.Name)
		if !field.IsValid() {
			return fmt.Errorf("the SDK has no %s.%s", path, f.Name)
		}
		if err := assign(want.FieldByName(f.Name), ours.Field(i), path+"."+f.Name); err != nil {
			return err
		}
		if !reflect.DeepEqual(want.FieldByName(f.Name).Interface(), field.Interface()) {
			return fmt.Errorf("%s.%s is not what was sent: %s", path, f.Name, cmp.Diff(want.FieldByName(f.Name).Interface(), field.Interface(), sdkTypes))
		}
	}
	return nil
}

// sdkTypes ignores what the SDK's types have that says nothing.
var sdkTypes = cmp.FilterPath(func(p cmp.Path) bool {
	field, ok := p.Last().(cmp.StructField)
	return ok && field.Name() == "noSmithyDocumentSerde"
}, cmp.Ignore())
