package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
)

// function numbers the functions that are counted.
type function int

// The functions, in the order of names.
const (
	fPlain function = iota
	fFloats
	fLeaf
	fDeposit
	fBalance
	fAdder
	fSumInt
	fSumFloat
	fPair
	fResults
	fWide
	fWideStruct
	fDescend
	fDeepWorker
	fNap
	fNapWorker
	fFib
	fSpawned
	fAsmAdd
	fAsmAddABI0
	fAsmFramed
	fDerivedDeposit
	fFind
	fPlace
	fPlaceCustom
	fMayPanic
	fMiddle
	fGuard
	fGuardRecover
	fRecurseAndPanic
	fDeepGuard
	fPanicInDefer
	fDeferredPanic
	fNestedGuard
	fRethrow
	fRethrowDeferred
	fRethrowGuard
	fRecoverInside
	fRecoverInsideDeferred
	fNilDeref
	fRuntimeGuard
	fGoexitEntry
	fGoexitMiddle
	fGoexitInner
	fGoexitDeferred
	fGoexitAfterRecover
	fSelfRecursion
	fNamed
	fNamedDeferred
	fLoopDefer
	fHeld
	numFunctions
)

// names are the symbols that the compiler gives the functions.
var names = [numFunctions]string{
	fPlain:                 "main.plain",
	fFloats:                "main.floats",
	fLeaf:                  "main.leaf",
	fDeposit:               "main.(*account).deposit",
	fBalance:               "main.account.balance",
	fAdder:                 "main.makeAdder.func1",
	fSumInt:                "main.sum[go.shape.int]",
	fSumFloat:              "main.sum[go.shape.float64]",
	fPair:                  "main.(*pair[go.shape.string]).swap",
	fResults:               "main.results",
	fWide:                  "main.wide",
	fWideStruct:            "main.wideStruct",
	fDescend:               "main.descend",
	fDeepWorker:            "main.deepWorker",
	fNap:                   "main.nap",
	fNapWorker:             "main.napWorker",
	fFib:                   "main.fib",
	fSpawned:               "main.spawned",
	fAsmAdd:                "main.asmAdd",
	fAsmAddABI0:            "main.asmAdd.abi0",
	fAsmFramed:             "main.asmFramed.abi0",
	fDerivedDeposit:        "main.(*derived).deposit",
	fFind:                  "main.find",
	fPlace:                 "main.place",
	fPlaceCustom:           "main.placeCustom",
	fMayPanic:              "main.mayPanic",
	fMiddle:                "main.middle",
	fGuard:                 "main.guard",
	fGuardRecover:          "main.guardRecover",
	fRecurseAndPanic:       "main.recurseAndPanic",
	fDeepGuard:             "main.deepGuard",
	fPanicInDefer:          "main.panicInDefer",
	fDeferredPanic:         "main.deferredPanic",
	fNestedGuard:           "main.nestedGuard",
	fRethrow:               "main.rethrow",
	fRethrowDeferred:       "main.rethrowDeferred",
	fRethrowGuard:          "main.rethrowGuard",
	fRecoverInside:         "main.recoverInside",
	fRecoverInsideDeferred: "main.recoverInsideDeferred",
	fNilDeref:              "main.nilDeref",
	fRuntimeGuard:          "main.runtimeGuard",
	fGoexitEntry:           "main.goexitEntry",
	fGoexitMiddle:          "main.goexitMiddle",
	fGoexitInner:           "main.goexitInner",
	fGoexitDeferred:        "main.goexitDeferred",
	fGoexitAfterRecover:    "main.goexitAfterRecover",
	fSelfRecursion:         "main.selfRecursion",
	fNamed:                 "main.named",
	fNamedDeferred:         "main.namedDeferred",
	fLoopDefer:             "main.loopDefer",
	fHeld:                  "main.held",
}

// tally is what one function has done. It is counted with the intrinsic
// functions of sync/atomic, which add neither a call nor a frame to the
// function that counts itself, optimised or not.
type tally struct{ calls, returns int64 }

var (
	tallies [numFunctions]tally
	check   int64
)

// caller counts n calls of f that returned, for functions that can't count
// themselves: assembly, and what the compiler generates.
func caller(f function, n int64) {
	atomic.AddInt64(&tallies[f].calls, n)
	atomic.AddInt64(&tallies[f].returns, n)
}

type count struct {
	Calls   int64 `json:"calls"`
	Returns int64 `json:"returns"`
	Unwound int64 `json:"unwound"`
}

// report prints the counts as one line of JSON.
func report() {
	functions := map[string]count{}
	for f := range tallies {
		c := count{
			Calls:   atomic.LoadInt64(&tallies[f].calls),
			Returns: atomic.LoadInt64(&tallies[f].returns),
		}
		c.Unwound = c.Calls - c.Returns
		if c.Calls > 0 {
			functions[names[f]] = c
		}
	}
	line, err := json.Marshal(map[string]any{
		"check":     atomic.LoadInt64(&check),
		"functions": functions,
		"children":  map[string]count{},
		"libraries": map[string]map[string]count{},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "encode counts:", err)
		os.Exit(1)
	}
	fmt.Println(string(line))
}
