package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what was measured on, and with which versions.
type Machine struct {
	Processor string   `json:"processor"`
	Cores     int      `json:"cores"`
	Kernel    string   `json:"kernel"`
	Load      float64  `json:"load"`     // average of the minute before: threads that ran or wanted to
	Versions  []string `json:"versions"` // of this program, the compilers and the other tools
}

func describeMachine() Machine {
	m := Machine{Processor: "unknown processor", Cores: runtime.NumCPU()}
	raw, _ := os.ReadFile("/proc/cpuinfo") // without it the processor stays unknown
	for _, line := range strings.Split(string(raw), "\n") {
		if v, ok := strings.CutPrefix(line, "model name"); ok {
			m.Processor = strings.Trim(v, "\t :")
			break
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel, _, _ = strings.Cut(string(u.Release[:]), "\x00")
	}
	average, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscan(string(average), &m.Load) // 0 without it
	m.Versions = append(m.Versions, runtime.Version())
	for _, c := range [][]string{
		{"observatory-trace", program, "version"},
		{"gcc", "gcc", "-dumpfullversion"},
		{"clang", "clang-19", "-dumpversion"},
		{"bpftrace", "bpftrace", "--version"},
		{"perf", "perf", "--version"},
		{"funclatency", "dpkg-query", "-W", "-f", "${Version}", "libbpf-tools"},
		{"uftrace", "uftrace", "--version"},
		{"dlv", dlvProgram, "version"},
		{"sqlite3", "sqlite3", "--version"},
	} {
		if said := versionIn(c[0], c[1], c[2:]...); said != "" {
			m.Versions = append(m.Versions, c[0]+" "+said)
		}
	}
	return m
}

// versionIn is the first word with a digit in what a tool says of its version.
func versionIn(tool, program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return ""
	}
	for _, word := range strings.Fields(string(out)) {
		if word != tool && strings.ContainsAny(word, "0123456789") {
			return word
		}
	}
	return ""
}

func (m Machine) line() string {
	line := fmt.Sprintf("%d × %s, Linux %s; %s", m.Cores, m.Processor, m.Kernel, strings.Join(m.Versions, ", "))
	if m.Load > float64(m.Cores)/2 {
		line += fmt.Sprintf(". The machine was busy with other things when it began (load average %.1f)", m.Load)
	}
	return line
}
