// Package filter decides by an expression over its decoded values which calls are
// recorded. The language is that of github.com/expr-lang/expr.
//
// Of this module it may import only trace: it sees finished calls, and must not know
// where they come from or go to.
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Filter is a compiled expression. It is not safe for concurrent use.
//
// A comparison that names what a call does not have is false, and so is one of values
// that can't be compared: neither is an error. Since errors end an expression in the
// library, what && and || join, and ! negates, are programs of their own.
type Filter struct {
	root  condition
	names []string
	// precondition is what must hold for root to hold.
	precondition trace.Precondition
	call         subject
	vm           vm.VM
}

// condition is a part of an expression that is true or false.
type condition interface {
	holds(f *Filter) bool
	outlook(f *Filter, arguments []string) (can, cannot bool)
}

type (
	and  struct{ left, right condition }
	or   struct{ left, right condition }
	not  struct{ of condition }
	leaf struct {
		program *vm.Program
		needs   []string // parameters without which it is false
		static  bool     // it is about a call's function alone
	}
)

func (c and) holds(f *Filter) bool { return c.left.holds(f) && c.right.holds(f) }
func (c or) holds(f *Filter) bool  { return c.left.holds(f) || c.right.holds(f) }
func (c not) holds(f *Filter) bool { return !c.of.holds(f) }
func (c leaf) holds(f *Filter) bool {
	v, err := f.vm.Run(c.program, nil)
	return err == nil && v == true
}

// Compile compiles an expression. The error shows the place where it is wrong.
func Compile(text string) (*Filter, error) {
	f := &Filter{}
	if err := f.check(text); err != nil {
		return nil, err
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse expression: %w", err)
	}
	if f.root, err = f.condition(tree.Node); err != nil {
		return nil, err
	}
	f.precondition = necessary(tree.Node)
	return f, nil
}

// Names gives the names in the expression that are not a call's own: of parameters.
func (f *Filter) Names() []string { return f.names }

// Match tells whether the expression is true of a call.
func (f *Filter) Match(c *trace.Call) bool {
	f.call = subject{Call: c}
	matches := f.root.holds(f)
	f.call = subject{}
	return matches
}

// The functions that names and dots in an expression become.
const (
	lookUp   = "lookUp"
	memberOf = "memberOf"
)

func (f *Filter) options(patch ast.Visitor) []expr.Option {
	return []expr.Option{
		expr.AllowUndefinedVariables(), expr.AsBool(), expr.Patch(patch),
		expr.Function(lookUp, f.call.lookUp), expr.Function(memberOf, member),
	}
}

// check compiles the whole text, for errors that tell of their place in it.
func (f *Filter) check(text string) error {
	p := &patcher{}
	if _, err := expr.Compile(text, f.options(p)...); err != nil && p.err == nil {
		return fmt.Errorf("compile expression: %w", err)
	}
	f.names = p.names
	return p.err
}

func (f *Filter) condition(node ast.Node) (condition, error) {
	switch n := node.(type) {
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			of, err := f.condition(n.Node)
			return not{of}, err
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and", "||", "or":
			left, err := f.condition(n.Left)
			right, err2 := f.condition(n.Right)
			if n.Operator == "&&" || n.Operator == "and" {
				return and{left, right}, errors.Join(err, err2)
			}
			return or{left, right}, errors.Join(err, err2)
		case "+", "-", "*", "/", "%", "^", "**", "..":
			return nil, fmt.Errorf("compile expression: %s is neither true nor false, position %d", n, n.Location().From+1)
		}
	}
	program, err := expr.Compile(node.String(), f.options(&patcher{})...)
	if err != nil {
		return nil, fmt.Errorf("compile part %s: %w", node, err)
	}
	return leaf{program, needed(node), isStatic(node)}, nil
}

// patcher makes of names and dots calls that fail where there is nothing of that name;
// and of a text that duration is compared with its milliseconds.
type patcher struct {
	names []string
	err   error // the first
}

// Visit is called of a node after its children.
func (p *patcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.VariableDeclaratorNode:
		p.fail(n, "let is not supported")
	case *ast.CallNode:
		// The name before the parentheses has been visited.
		p.fail(n, "there is no such function")
	case *ast.IdentifierNode:
		p.name(n.Value)
		ast.Patch(node, call(lookUp, &ast.StringNode{Value: n.Value}))
	case *ast.MemberNode:
		if name, ok := n.Property.(*ast.StringNode); ok {
			ast.Patch(node, call(memberOf, n.Node, name))
		}
	case *ast.BinaryNode:
		p.durations(n)
	}
}

func call(function string, arguments ...ast.Node) ast.Node {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: function}, Arguments: arguments}
}

func (p *patcher) name(name string) {
	if !slices.Contains(ownNames, name) && !slices.Contains(p.names, name) {
		p.names = append(p.names, name)
	}
}

func (p *patcher) fail(node ast.Node, message string) {
	if p.err == nil {
		p.err = fmt.Errorf("compile expression: %s, position %d", message, node.Location().From+1)
	}
}

// durations lets duration be compared with a text: duration > "1.5s".
func (p *patcher) durations(n *ast.BinaryNode) {
	for _, side := range []struct{ name, text *ast.Node }{{&n.Left, &n.Right}, {&n.Right, &n.Left}} {
		text, ok := (*side.text).(*ast.StringNode)
		if !ok || !isDuration(*side.name) {
			continue
		}
		d, err := time.ParseDuration(text.Value)
		if err != nil {
			p.fail(text, strconv.Quote(text.Value)+" is no duration: write, for example, \"1.5s\", or a number of milliseconds")
			return
		}
		ast.Patch(side.text, &ast.FloatNode{Value: milliseconds(int64(d))})
	}
}

// isDuration tells whether a node was the name duration.
func isDuration(node ast.Node) bool {
	c, ok := node.(*ast.CallNode)
	if !ok || len(c.Arguments) != 1 {
		return false
	}
	name, ok := c.Arguments[0].(*ast.StringNode)
	return ok && name.Value == "duration"
}
