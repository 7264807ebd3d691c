package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
)

type codeError struct {
	Code  int
	Cause error
}

func (e codeError) Error() string { return fmt.Sprint("code ", e.Code, ": ", e.Cause) }
func (e codeError) Unwrap() error { return e.Cause }

type quietError struct{ reason string }

func (e *quietError) Error() string { return "quiet: " + e.reason }

type textError string

func (e textError) Error() string { return "text " + string(e) }

// lateError is met for the first time when tracing goes on already.
type lateError struct{ At int }

func (e *lateError) Error() string { return "late" }

type numberError uint16

func (e numberError) Error() string { return "number" }

//go:noinline
func failDeep(levels int) error {
	err := error(&stockError{Item: "ink", Left: 0})
	for i := range levels {
		err = fmt.Errorf("level %d: %w", i, err)
	}
	return err
}

//go:noinline
func failJoined(n int) error {
	return errors.Join(errNotFound, fmt.Errorf("inner: %w", io.EOF), errors.Join(io.ErrUnexpectedEOF, codeError{Code: 1}))
}

//go:noinline
func failBoth(n int) error { return fmt.Errorf("%w and %w", errNotFound, io.EOF) }

//go:noinline
func failNested(code int) error {
	return codeError{Code: code, Cause: &codeError{Code: code + 1, Cause: &quietError{"no more"}}}
}

//go:noinline
func failText(s string) error { return textError(s) }

//go:noinline
func failNumber(n int) error { return numberError(n) }

//go:noinline
func failNil(n int) error {
	var none *quietError
	return none
}

//go:noinline
func failLate(n int) (err error) { return &lateError{n} }

//go:noinline
func failDeadline(n int) error {
	return fmt.Errorf("ask: %w", context.DeadlineExceeded)
}

//go:noinline
func failErrno(n int) error { return syscall.Errno(n) }

//go:noinline
func failNet(address string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

//go:noinline
func failLink(from, to string) error { return os.Link(from, to) }

//go:noinline
func failJSON(doc string) error {
	var into struct{ N int }
	return json.Unmarshal([]byte(doc), &into)
}

//go:noinline
func failNumeral(s string) (int, error) { return strconv.Atoi(s) }

//go:noinline
func takesErrors(a, b error, list []error, held any) int { return len(list) }

func callFailures() {
	_ = failDeep(6)
	_ = failJoined(1)
	_ = failBoth(1)
	_ = failNested(7)
	_ = failText("only")
	_ = failNumber(7)
	_ = failNil(1)
	_ = failLate(8)
	_ = failDeadline(1)
	_ = failErrno(int(syscall.EACCES))
	_ = failNet("127.0.0.1:1")
	_ = failLink("/no/such/file", "/no/such/link")
	_ = failJSON(`{"N": "x"}`)
	_, _ = failNumeral("12a")
	sink = takesErrors(errNotFound, codeError{Code: 2, Cause: io.EOF}, []error{io.EOF, nil, &quietError{"in a list"}}, &quietError{"held"})
}
