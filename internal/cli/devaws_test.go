package cli

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

// fakeAWS is a folder of a cluster with a fake AWS, in which there is one instance.
func fakeAWS(t *testing.T) (dir, instance string, w *world.World) {
	t.Helper()
	clock := world.Faster(1)
	w = world.New(world.Config{Region: devcluster.CloudRegion, Account: "123456789012", Zones: []string{"a", "b"}, Times: world.Life()}, clock)
	server := httptest.NewServer(aws.NewServer(w, clock, devcluster.CloudRegion))
	t.Cleanup(server.Close)
	err := w.Write(func(s *world.State) error {
		if err := s.AddImage(world.Image{ImageId: "ami-1", Name: "node"}); err != nil {
			return err
		}
		out, err := s.RunInstances(&world.RunInstancesInput{ImageId: "ami-1", InstanceType: "m7i.large", MinCount: 1, MaxCount: 1, InstanceMarketOptions: &world.MarketOptions{MarketType: "spot"}})
		if err == nil {
			instance = out.Instances[0].InstanceId
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, devcluster.CloudFile), []byte(server.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, instance, w
}

// TestDevAWS: each command does what it says, and says it.
func TestDevAWS(t *testing.T) {
	t.Parallel()
	dir, instance, w := fakeAWS(t)
	for _, one := range []struct {
		arguments string
		code      int
		says      string
	}{
		{"capacity eu-central-1b m7i.large --room 2", exitOK, "eu-central-1b has 2 more of m7i.large\n"},
		{"capacity eu-central-1a m7i.large --room 0 --spot", exitOK, "eu-central-1a has 0 more of m7i.large\n"},
		{"capacity eu-central-1a m7i.large --unlimited --spot", exitOK, "eu-central-1a has any number of m7i.large\n"},
		{"throttle ec2.RunInstances --per-second 0.5 --burst 3", exitOK, "ec2.RunInstances is limited to 0.5 per second, and 3 at once\n"},
		{"throttle ec2.RunInstances --off", exitOK, "ec2.RunInstances is not limited\n"},
		{"lag 5s", exitOK, "Reads are 5s behind writes\n"},
		{"interrupt " + instance + " --lead 1h", exitOK, "Instance " + instance + " gets its notice in 1h0m0s\n"},
		{"crash " + instance, exitOK, "Instance " + instance + " has crashed\n"},
		{"crash i-1", exitFailed, "no instance"},
		{"lag soon", exitUsage, "invalid duration"},
		{"capacity eu-central-1a m7i.large", exitFailed, "at least one of the flags"},
		{"throttle ec2.RunInstances --off --per-second 1", exitFailed, "none of the others can be"},
	} {
		var out bytes.Buffer
		arguments := append([]string{"dev", "aws"}, strings.Fields(one.arguments)...)
		code := Main(t.Context(), append(arguments, "--dir", dir), &out, &out)
		if code != one.code || !strings.Contains(out.String(), one.says) {
			t.Errorf("%s exits with %d: %s", one.arguments, code, out.String())
		}
	}
	err := w.Write(func(s *world.State) error {
		if diff := cmp.Diff(map[world.Pool]int{{Zone: "eu-central-1b", InstanceType: "m7i.large"}: 2}, s.Room); diff != "" {
			t.Error(diff)
		}
		if len(s.Notices) != 1 || s.Instances[instance].State != world.ShuttingDown {
			t.Errorf("the notices are %v, the instance %+v", s.Notices, s.Instances[instance])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDevAWSWithoutOne says how to have one.
func TestDevAWSWithoutOne(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	code := Main(t.Context(), []string{"dev", "aws", "lag", "5s", "--dir", t.TempDir()}, &out, &out)
	if code != exitFailed || !strings.Contains(out.String(), "--fake-aws") {
		t.Errorf("it exits with %d: %s", code, out.String())
	}
}
