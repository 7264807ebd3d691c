package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	redisTime  = 10 * time.Second
	redisEvery = 500 * time.Millisecond
)

// redis measures how many requests Redis answers while all of its functions are traced.
func (l *lab) redis() (*Table, error) {
	t := &Table{
		Title: "Redis, all of its functions", First: "time since the command was started",
		About: "`redis-server`, as Debian builds it, without debug information, under `redis-benchmark -t set -P 16`: requests answered, of those that are answered untraced, %. Hundreds of its functions are called for each request.",
	}
	var columns [][]float64
	for _, way := range []struct {
		name  string
		flags []string
	}{{"default", nil}, {"statistics only", []string{"--stats-only"}}} {
		answered, err := l.redisUnder(way.flags)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way.name, err)
		}
		t.Columns = append(t.Columns, way.name)
		columns = append(columns, answered)
	}
	for i := range columns[0] {
		row := &Row{Name: fmt.Sprintf("%.1f s", (time.Duration(i+1) * redisEvery).Seconds())}
		for _, c := range columns {
			row.Cells = append(row.Cells, single(c[i]))
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// redisUnder gives, for each redisEvery under trace, which part of its usual number of requests Redis answered, %.
func (l *lab) redisUnder(flags []string) (answered []float64, err error) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(probe.Addr().(*net.TCPAddr).Port)
	if err := probe.Close(); err != nil {
		return nil, err
	}
	server := exec.CommandContext(l.ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "")
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end(server)) }()
	c, err := dialRedis(port)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	client := exec.CommandContext(l.ctx, "redis-benchmark", "-p", port, "-q", "-n", "2000000000", "-P", "16", "-t", "set")
	if err := client.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end(client)) }()
	time.Sleep(time.Second)
	usual, err := c.rate(3 * time.Second)
	if err != nil {
		return nil, err
	}
	db := filepath.Join(l.dir, "redis.db")
	if err := removeDatabase(db); err != nil {
		return nil, err
	}
	tracer, err := l.startTool(append([]string{program, "attach", "-p", strconv.Itoa(server.Process.Pid), "--db", db, "-o", "none"}, flags...)...)
	if err != nil {
		return nil, err
	}
	for range redisTime / redisEvery {
		rate, err := c.rate(redisEvery)
		if err != nil {
			return nil, errors.Join(err, tracer.interrupt(time.Minute))
		}
		answered = append(answered, rate/usual*100)
	}
	return answered, tracer.interrupt(time.Minute)
}

// end ends a command that is not to end by itself.
func end(c *exec.Cmd) error {
	err := c.Process.Kill()
	_ = c.Wait() // it was killed
	return err
}

// redisClient asks Redis how many requests it has answered.
type redisClient struct {
	net.Conn
	lines *bufio.Reader
}

func dialRedis(port string) (*redisClient, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return &redisClient{c, bufio.NewReader(c)}, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
}

// rate is how many requests are answered in a second, for so long as d, or until the answer to that comes.
func (c *redisClient) rate(d time.Duration) (float64, error) {
	before, err := c.answered()
	start := time.Now()
	if err != nil {
		return 0, err
	}
	time.Sleep(d)
	after, err := c.answered()
	return float64(after-before) / time.Since(start).Seconds(), err
}

func (c *redisClient) answered() (n int64, err error) {
	if _, err := c.Write([]byte("INFO stats\r\n")); err != nil {
		return 0, err
	}
	// A bulk string: its length, lines, and an empty one.
	size, err := c.lines.ReadString('\n')
	if err != nil {
		return 0, err
	}
	left, err := strconv.Atoi(strings.Trim(size, "$\r\n"))
	if err != nil {
		return 0, fmt.Errorf("redis said %q", size)
	}
	for left += len("\r\n"); left > 0; {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		left -= len(line)
		if value, ok := strings.CutPrefix(line, "total_commands_processed:"); ok {
			if n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}
