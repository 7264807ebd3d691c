package filter

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/observatory-trace/observatory-trace/trace"
)

// Possible tells whether the expression may be true of some call of a function whose arguments have such names. It is
// false only where that is certain: by names that the function does not have, and by what process and group are of it.
func (f *Filter) Possible(fn *trace.Function, arguments []string) bool {
	f.call = subject{Call: &trace.Call{Func: fn}}
	can, _ := f.root.outlook(f, arguments)
	f.call = subject{}
	return can
}

// outlook tells whether a condition may be true of a call, and whether it may be false.
func (c and) outlook(f *Filter, arguments []string) (can, cannot bool) {
	left, noLeft := c.left.outlook(f, arguments)
	right, noRight := c.right.outlook(f, arguments)
	return left && right, noLeft || noRight
}

func (c or) outlook(f *Filter, arguments []string) (can, cannot bool) {
	left, noLeft := c.left.outlook(f, arguments)
	right, noRight := c.right.outlook(f, arguments)
	return left || right, noLeft && noRight
}

func (c not) outlook(f *Filter, arguments []string) (can, cannot bool) {
	can, cannot = c.of.outlook(f, arguments)
	return cannot, can
}

func (c leaf) outlook(f *Filter, arguments []string) (can, cannot bool) {
	for _, name := range c.needs {
		if !slices.Contains(arguments, name) {
			return false, true
		}
	}
	// What a call of a generic function is called depends on its types.
	if c.static && !strings.Contains(f.call.Func.Name, "[") {
		holds := c.holds(f)
		return holds, !holds
	}
	return true, true
}

// needed gives the parameters without which a node has no value: those that are read whatever others are.
func needed(node ast.Node) (names []string) {
	of := func(nodes ...ast.Node) {
		for _, n := range nodes {
			if n != nil {
				names = append(names, needed(n)...)
			}
		}
	}
	switch n := node.(type) {
	case *ast.IdentifierNode:
		if !slices.Contains(ownNames, n.Value) {
			return []string{n.Value}
		}
	case *ast.UnaryNode:
		of(n.Node)
	case *ast.BinaryNode:
		of(n.Left)
		if !slices.Contains([]string{"&&", "and", "||", "or", "??"}, n.Operator) {
			of(n.Right)
		}
	case *ast.ChainNode:
		of(n.Node)
	case *ast.MemberNode:
		id, args := n.Node.(*ast.IdentifierNode)
		if field, ok := n.Property.(*ast.StringNode); ok && args && id.Value == "args" {
			return []string{field.Value}
		}
		of(n.Node, n.Property)
	case *ast.SliceNode:
		of(n.Node, n.From, n.To)
	case *ast.ConditionalNode:
		of(n.Cond)
	case *ast.BuiltinNode:
		of(n.Arguments...)
	}
	return names
}

// isStatic tells whether a node says nothing but of which function a call is. Who writes false wants no call.
func isStatic(node ast.Node) bool {
	if _, ok := node.(*ast.BoolNode); ok {
		return false
	}
	v := &onlyFunction{true}
	ast.Walk(&node, v)
	return v.so
}

// onlyFunction finds names of what differs from call to call.
type onlyFunction struct{ so bool }

// Visit is called of every node.
func (v *onlyFunction) Visit(node *ast.Node) {
	if id, ok := (*node).(*ast.IdentifierNode); ok && id.Value != "process" && id.Value != "group" {
		v.so = false
	}
}
