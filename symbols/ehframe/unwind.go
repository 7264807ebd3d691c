package ehframe

import (
	"errors"
	"fmt"
)

// NumRegisters is how many registers are followed, in DWARF's numbering: the
// general ones of x86-64 and their return address column (System V ABI, figure
// 3.36), those of arm64 and its stack pointer (DWARF for the Arm 64-bit architecture, 4.1).
const NumRegisters = 33

// Registers are the registers of one frame.
type Registers struct {
	Value [NumRegisters]uint64
	PC    uint64
	// Interrupted says that PC is the instruction to be executed next, rather
	// than one behind a call.
	Interrupted bool
}

// Why a frame's caller is not found.
var (
	// ErrOutermost is no failure: the frame has no caller.
	ErrOutermost = errors.New("the outermost frame")
	// ErrNoInformation is returned for code that the table doesn't describe.
	ErrNoInformation = errors.New("no unwind information")
	// ErrDamaged is wrapped when the table, or the stack, contradicts itself.
	ErrDamaged = errors.New("damaged unwind information")
	// ErrMemory is returned when memory is needed that can't be had.
	ErrMemory = errors.New("memory beyond what was copied")
)

// Memory reads a word; false when it can't.
type Memory func(addr uint64) (uint64, bool)

// Caller finds the registers of a frame's caller. At is the address in the
// file of an instruction of the frame: of the call it has made, or of the one
// that was interrupted.
func (t *Table) Caller(at uint64, r *Registers, memory Memory) (Registers, error) {
	piece, ok := t.Find(at)
	if !ok {
		return Registers{}, ErrNoInformation
	}
	c := t.cies[int(piece.cie)]
	m := machine{table: t, cie: c, at: at}
	if err := m.program(piece); err != nil {
		return Registers{}, err
	}
	next := *r
	e := evaluator{registers: r, memory: memory}
	cfa, err := m.row.address(&e)
	if err != nil {
		return Registers{}, err
	}
	next.Value[t.machine.Register] = cfa
	for i, rule := range m.row.registers {
		if next.Value[i], err = rule.value(&e, cfa, next.Value[i]); err != nil {
			return Registers{}, err
		}
	}
	if c.column >= NumRegisters || m.row.registers[c.column].kind == ruleUndefined {
		return Registers{}, ErrOutermost
	}
	next.PC, next.Interrupted = next.Value[c.column], c.signal
	if next.PC == 0 {
		return Registers{}, ErrOutermost
	}
	return next, nil
}

// ruleKind is how a register of the caller is found (DWARF 5, section 6.4.1).
type ruleKind uint8

const (
	ruleSame ruleKind = iota
	ruleUndefined
	ruleOffset // in memory, at the canonical frame address + offset
	ruleValOffset
	ruleRegister
	ruleExpression // in memory, at the address that an expression gives
	ruleValExpression
)

type rule struct {
	kind       ruleKind
	offset     int64 // ruleRegister: the register
	expression []byte
}

// row is the rules for all registers at one instruction.
type row struct {
	cfa       rule // ruleOffset: from the register; or ruleExpression
	register  uint64
	registers [NumRegisters]rule
}

func (w *row) address(e *evaluator) (uint64, error) {
	switch {
	case w.cfa.kind == ruleExpression:
		return e.run(w.cfa.expression)
	case w.cfa.kind != ruleOffset || w.register >= NumRegisters:
		return 0, fmt.Errorf("%w: no rule for the frame's address", ErrDamaged)
	}
	return e.registers.Value[w.register] + uint64(w.cfa.offset), nil
}

func (r *rule) value(e *evaluator, cfa, same uint64) (uint64, error) {
	switch r.kind {
	case ruleOffset:
		return e.load(cfa + uint64(r.offset))
	case ruleValOffset:
		return cfa + uint64(r.offset), nil
	case ruleRegister:
		if uint64(r.offset) >= NumRegisters {
			return 0, fmt.Errorf("%w: register %d", ErrDamaged, r.offset)
		}
		return e.registers.Value[r.offset], nil
	case ruleExpression, ruleValExpression:
		v, err := e.run(r.expression, cfa)
		if err != nil || r.kind == ruleValExpression {
			return v, err
		}
		return e.load(v)
	default:
		return same, nil
	}
}

// machine executes call frame instructions up to one address.
type machine struct {
	table   *Table
	cie     cie
	at, loc uint64
	row     row
	initial row
	saved   []row
}

// maxSaved bounds the rows that are remembered at once.
const maxSaved = 16

func (m *machine) program(p Piece) error {
	if err := m.run(m.cie.start, m.cie.end); err != nil {
		return err
	}
	m.initial = m.row
	m.loc = p.Low
	return m.run(int(p.start), int(p.end))
}

func (m *machine) run(start, end int) error {
	b := reader{data: m.table.section[:end], off: start}
	for b.off < len(b.data) && !b.bad && m.loc <= m.at {
		if err := m.instruction(&b); err != nil {
			return err
		}
	}
	if b.bad {
		return fmt.Errorf("%w: a record runs past its end", ErrDamaged)
	}
	return nil
}

// advance goes on to a later instruction; the row is that before it.
func (m *machine) advance(delta uint64) { m.loc += delta * m.cie.codeAlign }

// set gives a register a rule. Those that are not followed (vectors) have none.
func (m *machine) set(register uint64, r rule) {
	if register < NumRegisters {
		m.row.registers[register] = r
	}
}

func (m *machine) restore(register uint64) {
	if register < NumRegisters {
		m.row.registers[register] = m.initial.registers[register]
	}
}

// instruction executes one instruction (section 6.4.2).
func (m *machine) instruction(b *reader) error {
	op := b.u8()
	low := uint64(op & 0x3f)
	switch op & 0xc0 {
	case cfaAdvance:
		m.advance(low)
		return nil
	case cfaOffset:
		m.set(low, rule{kind: ruleOffset, offset: int64(b.uleb()) * m.cie.dataAlign})
		return nil
	case cfaRestore:
		m.restore(low)
		return nil
	}
	switch op {
	case 0: // nop
	case cfaAdvance1:
		m.advance(uint64(b.u8()))
	case cfaAdvance2:
		m.advance(uint64(b.u16()))
	case cfaAdvance4:
		m.advance(uint64(b.u32()))
	case cfaRestoreLong:
		m.restore(b.uleb())
	case cfaUndefined:
		m.set(b.uleb(), rule{kind: ruleUndefined})
	case cfaSame:
		m.set(b.uleb(), rule{})
	case cfaRegister:
		m.set(b.uleb(), rule{kind: ruleRegister, offset: int64(b.uleb())})
	case cfaOffsetLong:
		m.set(b.uleb(), rule{kind: ruleOffset, offset: int64(b.uleb()) * m.cie.dataAlign})
	case cfaOffsetSigned:
		m.set(b.uleb(), rule{kind: ruleOffset, offset: b.sleb() * m.cie.dataAlign})
	case cfaValOffset:
		m.set(b.uleb(), rule{kind: ruleValOffset, offset: int64(b.uleb()) * m.cie.dataAlign})
	case cfaValOffsetSgnd:
		m.set(b.uleb(), rule{kind: ruleValOffset, offset: b.sleb() * m.cie.dataAlign})
	case cfaExpression:
		m.set(b.uleb(), rule{kind: ruleExpression, expression: b.block()})
	case cfaValExpression:
		m.set(b.uleb(), rule{kind: ruleValExpression, expression: b.block()})
	case cfaRemember:
		if len(m.saved) == maxSaved {
			return fmt.Errorf("%w: too many rows are remembered", ErrDamaged)
		}
		m.saved = append(m.saved, m.row)
	case cfaRestoreState:
		if len(m.saved) == 0 {
			return fmt.Errorf("%w: no row is remembered", ErrDamaged)
		}
		m.row = m.saved[len(m.saved)-1]
		m.saved = m.saved[:len(m.saved)-1]
	case cfaGNUWindowSave: // the high bits of arm64's return addresses are cut off anyway
	case cfaGNUArgsSize:
		b.uleb()
	default:
		return m.frameAddress(op, b)
	}
	return nil
}

// frameAddress executes an instruction about the canonical frame address.
func (m *machine) frameAddress(op uint8, b *reader) error {
	switch op {
	case cfaDefCFA:
		m.row.register, m.row.cfa = b.uleb(), rule{kind: ruleOffset, offset: int64(b.uleb())}
	case cfaDefCFASigned:
		m.row.register, m.row.cfa = b.uleb(), rule{kind: ruleOffset, offset: b.sleb() * m.cie.dataAlign}
	case cfaDefCFAReg:
		m.row.register = b.uleb()
	case cfaDefCFAOffset:
		m.row.cfa.offset = int64(b.uleb())
	case cfaDefOffsetSgnd:
		m.row.cfa.offset = b.sleb() * m.cie.dataAlign
	case cfaDefExpression:
		m.row.cfa = rule{kind: ruleExpression, expression: b.block()}
	default:
		return fmt.Errorf("%w: unknown instruction %#x", ErrDamaged, op)
	}
	return nil
}

// block reads bytes behind their number.
func (b *reader) block() []byte {
	n := b.uleb()
	start := b.off
	b.skip(n)
	return b.data[start:b.off]
}
