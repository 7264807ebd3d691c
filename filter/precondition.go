package filter

import (
	"math"
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/observatory-trace/observatory-trace/trace"
)

// MaxChecks is how many comparisons a Precondition has at most (MAX_CHECKS in bpf/event.h).
const MaxChecks = 8

// Precondition gives what must hold for the expression to be true, as far as it can be told
// where a call begins, or by its duration. It may hold for other calls, too.
func (f *Filter) Precondition() trace.Precondition { return f.precondition }

// necessary finds what must hold for a node to be true: the comparisons that && joins to the
// rest, and those that only || status == "ERR" can make up for.
func necessary(node ast.Node) trace.Precondition {
	n, ok := node.(*ast.BinaryNode)
	if !ok {
		return trace.Precondition{}
	}
	switch n.Operator {
	case "&&", "and":
		left, right := necessary(n.Left), necessary(n.Right)
		checks := append(left.Checks, right.Checks...)
		return trace.Precondition{
			LeastNS: max(left.LeastNS, right.LeastNS), Failed: left.Failed || right.Failed,
			Checks: checks[:min(len(checks), MaxChecks)],
		}
	case "||", "or":
		p := trace.Precondition{}
		switch {
		case isFailed(n.Right):
			p = necessary(n.Left)
		case isFailed(n.Left):
			p = necessary(n.Right)
		}
		p.Failed = len(p.Checks) > 0 // a short call that fails is recorded in any case
		return p
	}
	return compared(n)
}

// isFailed tells whether a node says that the call failed.
func isFailed(node ast.Node) bool {
	n, ok := node.(*ast.BinaryNode)
	if !ok || n.Operator != "==" {
		return false
	}
	name, value := n.Left, n.Right
	if _, ok := name.(*ast.StringNode); ok {
		name, value = value, name
	}
	id, ok1 := name.(*ast.IdentifierNode)
	text, ok2 := value.(*ast.StringNode)
	return ok1 && ok2 && id.Value == "status" && text.Value == trace.StatusErr.String()
}

var ops = map[string]trace.Op{
	"==": trace.OpEqual, "!=": trace.OpDiffers, "<": trace.OpLess, ">": trace.OpMore, "<=": trace.OpAtMost, ">=": trace.OpAtLeast,
}

// compared is what a comparison of a name with a constant says.
func compared(n *ast.BinaryNode) trace.Precondition {
	op, ok := ops[n.Operator]
	if !ok {
		return trace.Precondition{}
	}
	id, ok := n.Left.(*ast.IdentifierNode)
	value := n.Right
	if !ok {
		if id, ok = n.Right.(*ast.IdentifierNode); !ok {
			return trace.Precondition{}
		}
		op, value = op.Reversed(), n.Left
	}
	if id.Value == "duration" {
		return trace.Precondition{LeastNS: least(op, value)}
	}
	number, ok := integer(value)
	if !ok || slices.Contains(ownNames, id.Value) {
		return trace.Precondition{}
	}
	return trace.Precondition{Checks: []trace.Check{{Param: id.Value, Op: op, Value: number}}}
}

// least is how long a call takes at least whose duration compares so with a constant, ns.
func least(op trace.Op, value ast.Node) int64 {
	if op != trace.OpMore && op != trace.OpAtLeast && op != trace.OpEqual {
		return 0
	}
	var ms float64
	switch v := value.(type) {
	case *ast.StringNode:
		d, err := time.ParseDuration(v.Value)
		if err != nil {
			return 0
		}
		return max(int64(d)-1, 0)
	case *ast.FloatNode:
		ms = v.Value
	default:
		n, ok := integer(value)
		if !ok {
			return 0
		}
		ms = float64(n)
	}
	// Rounded as durations are when they are compared: one less is on the safe side.
	if ns := ms * 1e6; ns >= 1 && ns < math.MaxInt64 {
		return int64(ns) - 1
	}
	return 0
}

func integer(node ast.Node) (int64, bool) {
	switch n := node.(type) {
	case *ast.IntegerNode:
		return int64(n.Value), true
	case *ast.UnaryNode:
		if v, ok := integer(n.Node); ok && n.Operator == "-" {
			return -v, true
		}
	}
	return 0, false
}
