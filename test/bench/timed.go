package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// timedProgram is the argument that makes this program one that a pod runs. It tells
// when it was started, and when its readiness was first asked for and was given.
const timedProgram = "timed-program"

const readyPath = "/ready"

// timedReport is what the program leaves in a file of its pod's name.
type timedReport struct {
	// Started is precise to 10 ms, which is the kernel's tick.
	Started, Probed time.Time
}

func runTimed(dir string) error {
	started, err := startOfProcess()
	if err != nil {
		return err
	}
	var once sync.Once
	mux := http.NewServeMux()
	mux.HandleFunc(readyPath, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() {
			content, err := json.Marshal(timedReport{Started: started, Probed: time.Now()})
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, os.Getenv("HOSTNAME")), content, 0o600)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	})
	server := &http.Server{Addr: net.JoinHostPort(os.Getenv("LISTEN_IP"), "8080"), Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

// startOfProcess is when the kernel made this process, of which the Go runtime and
// package initialisation know nothing.
func startOfProcess() (time.Time, error) {
	now := time.Now()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return now, err
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return now, err
	}
	// The fields behind the command's name; the twentieth is the start. See proc(5).
	ticks, err := strconv.ParseFloat(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[19], 64)
	if err != nil {
		return now, err
	}
	up, err := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	return now.Add(-time.Duration((up - ticks/clockTicks) * float64(time.Second))), err
}

// memory is the share of memory that the cluster's processes and all their children
// have, in MiB.
func (c *cluster) memory() (float64, error) {
	parents := map[int]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // It has ended.
		}
		pid, _ := strconv.Atoi(strings.Fields(string(content))[0])
		parents[pid], _ = strconv.Atoi(strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))[1])
	}
	total := 0.0
	for pid := range parents {
		if !descends(parents, pid, c.cmd.Process.Pid) {
			continue
		}
		share, err := shareOf(pid)
		if err != nil {
			return 0, err
		}
		total += share
	}
	return total, nil
}

func descends(parents map[int]int, pid, from int) bool {
	for ; pid > 1; pid = parents[pid] {
		if pid == from {
			return true
		}
	}
	return false
}

// shareOf is the memory of a process, that shared with n others counted as 1/n, in MiB.
func shareOf(pid int) (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(content), "\nPss:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseFloat(strings.Trim(line, " \tkB"), 64)
	return kib / 1024, err
}

// answers tells whether the Service web is answered for.
func answers(ctx context.Context, gateway string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway+"/", http.NoBody)
	if err != nil {
		return false
	}
	request.Host = webHost
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// webHost is how the gateway calls the Service web.
const webHost = "web." + benchNamespace + ".svc"
