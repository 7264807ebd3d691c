package ehframe

import "fmt"

// evaluator computes the expressions of call frame instructions (DWARF 5,
// section 2.5.1): those that linkers write for their tables of jumps (.plt), and
// compilers for realigned stacks and signal frames.
type evaluator struct {
	registers *Registers
	memory    Memory
	stack     []uint64
}

// Operations (section 7.7.1).
const (
	opDeref      = 0x06
	opConst1u    = 0x08
	opConst1s    = 0x09
	opConst2u    = 0x0a
	opConst2s    = 0x0b
	opConst4u    = 0x0c
	opConst4s    = 0x0d
	opConst8u    = 0x0e
	opConst8s    = 0x0f
	opConstu     = 0x10
	opConsts     = 0x11
	opDup        = 0x12
	opDrop       = 0x13
	opSwap       = 0x16
	opAnd        = 0x1a
	opMinus      = 0x1c
	opMul        = 0x1e
	opNeg        = 0x1f
	opOr         = 0x21
	opPlus       = 0x22
	opPlusUconst = 0x23
	opShl        = 0x24
	opShr        = 0x25
	opXor        = 0x27
	opEq         = 0x29
	opGe         = 0x2a
	opGt         = 0x2b
	opLe         = 0x2c
	opLt         = 0x2d
	opNe         = 0x2e
	opLit0       = 0x30
	opBreg0      = 0x70
	opBregx      = 0x92
	opNop        = 0x96
)

// maxValues bounds the evaluator's stack.
const maxValues = 32

func (e *evaluator) load(addr uint64) (uint64, error) {
	v, ok := e.memory(addr)
	if !ok {
		return 0, ErrMemory
	}
	return v, nil
}

func (e *evaluator) push(v uint64) { e.stack = append(e.stack, v) }

// pop takes the topmost value.
func (e *evaluator) pop() uint64 {
	v := e.stack[len(e.stack)-1]
	e.stack = e.stack[:len(e.stack)-1]
	return v
}

// run gives what is on top when the expression has been computed on these values.
// Without branches, it takes no more steps than it has bytes.
func (e *evaluator) run(expression []byte, values ...uint64) (uint64, error) {
	e.stack = append(e.stack[:0], values...)
	b := reader{data: expression}
	for b.off < len(b.data) && !b.bad {
		if err := e.step(b.u8(), &b); err != nil {
			return 0, err
		}
		if len(e.stack) > maxValues {
			return 0, fmt.Errorf("%w: an expression needs too many values", ErrDamaged)
		}
	}
	if b.bad || len(e.stack) == 0 {
		return 0, fmt.Errorf("%w: an expression without a value", ErrDamaged)
	}
	return e.pop(), nil
}

func (e *evaluator) step(op uint8, b *reader) error {
	switch {
	case op >= opLit0 && op < opLit0+32:
		e.push(uint64(op - opLit0))
		return nil
	case op >= opBreg0 && op < opBreg0+32:
		return e.register(uint64(op-opBreg0), b)
	case op == opBregx:
		return e.register(b.uleb(), b)
	}
	if v, ok := constant(op, b); ok {
		e.push(v)
		return nil
	}
	return e.operate(op, b)
}

// register pushes a register's content and an offset.
func (e *evaluator) register(n uint64, b *reader) error {
	if n >= NumRegisters {
		return fmt.Errorf("%w: register %d", ErrDamaged, n)
	}
	e.push(e.registers.Value[n] + uint64(b.sleb()))
	return nil
}

// constant reads the operand of an operation that pushes it.
func constant(op uint8, b *reader) (uint64, bool) {
	switch op {
	case opConst1u:
		return uint64(b.u8()), true
	case opConst1s:
		return uint64(int64(int8(b.u8()))), true
	case opConst2u:
		return uint64(b.u16()), true
	case opConst2s:
		return uint64(int64(int16(b.u16()))), true
	case opConst4u:
		return uint64(b.u32()), true
	case opConst4s:
		return uint64(int64(int32(b.u32()))), true
	case opConst8u, opConst8s:
		return b.u64(), true
	case opConstu:
		return b.uleb(), true
	case opConsts:
		return uint64(b.sleb()), true
	}
	return 0, false
}

// operate executes the operations that take values.
func (e *evaluator) operate(op uint8, b *reader) error {
	need := 2
	switch op {
	case opNop:
		return nil
	case opDeref, opDup, opDrop, opNeg, opPlusUconst:
		need = 1
	}
	if len(e.stack) < need {
		return fmt.Errorf("%w: an expression lacks values", ErrDamaged)
	}
	y := e.pop()
	if need == 1 {
		return e.unary(op, y, b)
	}
	x := e.pop()
	if op == opSwap {
		e.push(y)
		e.push(x)
		return nil
	}
	v, ok := arithmetic(op, x, y)
	if !ok {
		return fmt.Errorf("%w: unknown operation %#x", ErrDamaged, op)
	}
	e.push(v)
	return nil
}

func (e *evaluator) unary(op uint8, y uint64, b *reader) error {
	switch op {
	case opDeref:
		v, err := e.load(y)
		if err != nil {
			return err
		}
		e.push(v)
	case opDup:
		e.push(y)
		e.push(y)
	case opNeg:
		e.push(-y)
	case opPlusUconst:
		e.push(y + b.uleb())
	}
	return nil
}

func arithmetic(op uint8, x, y uint64) (uint64, bool) {
	truth := func(v bool) uint64 {
		if v {
			return 1
		}
		return 0
	}
	switch op {
	case opAnd:
		return x & y, true
	case opMinus:
		return x - y, true
	case opMul:
		return x * y, true
	case opOr:
		return x | y, true
	case opPlus:
		return x + y, true
	case opShl:
		return x << y, true
	case opShr:
		return x >> y, true
	case opXor:
		return x ^ y, true
	case opEq:
		return truth(x == y), true
	case opGe:
		return truth(int64(x) >= int64(y)), true
	case opGt:
		return truth(int64(x) > int64(y)), true
	case opLe:
		return truth(int64(x) <= int64(y)), true
	case opLt:
		return truth(int64(x) < int64(y)), true
	case opNe:
		return truth(x != y), true
	}
	return 0, false
}
