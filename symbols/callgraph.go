package symbols

import (
	"strings"

	"github.com/observatory-trace/observatory-trace/symbols/sites"
	"github.com/observatory-trace/observatory-trace/trace"
)

// callGraph knows through which functions an exception, a panic or a
// cancellation can unwind: those that can reach code that it doesn't know.
// Only such functions are analysed as are asked for, and those they call.
type callGraph struct {
	p     *planner
	plt   *stubs
	known map[uint64]reach // by address
	nest  int              // functions being visited, one inside the other
}

// reach is what is known of a function's calls.
type reach struct {
	why     string // why something can unwind through it; empty when nothing can
	depth   int    // calls one inside the other below it, at most
	pending bool   // being found out: meeting it again is a recursion
}

func newCallGraph(p *planner) *callGraph {
	return &callGraph{p: p, known: map[uint64]reach{}}
}

// maxReturns bounds how deeply functions with uretprobes can be nested. The
// kernel follows 64 returns of a thread (MAX_URETPROBE_DEPTH) and loses more.
const maxReturns = 24

// Reasons for which RET sites are probed instead of the cheaper uretprobe.
const (
	whyIndirect  = "it calls through a pointer: what it calls may unwind through it"
	whyRecursive = "it is recursive: the kernel follows 64 returns of a thread"
	whyDeep      = "its calls are nested too deeply for uretprobes"
	whyReadsBack = "it reads its return address"
)

// unwinds says why something can unwind through a function whose code was
// analysed; empty when nothing can.
func (g *callGraph) unwinds(b body, result sites.Result) string {
	return g.visit(b.addr, func() (sites.Result, string) { return result, "" }).why
}

// visit finds out about the function at an address, once.
func (g *callGraph) visit(addr uint64, analyze func() (sites.Result, string)) reach {
	if r, ok := g.known[addr]; ok {
		if r.pending {
			return reach{why: whyRecursive}
		}
		return r
	}
	if g.nest > 4*maxReturns {
		return reach{why: whyDeep}
	}
	g.nest++
	defer func() { g.nest-- }()
	g.known[addr] = reach{pending: true}
	r := g.follow(analyze())
	g.known[addr] = r
	return r
}

func (g *callGraph) follow(result sites.Result, failed string) reach {
	switch {
	case failed != "":
		return reach{why: failed}
	case result.ReadsReturn:
		return reach{why: whyReadsBack}
	case result.IndirectCalls:
		return reach{why: whyIndirect}
	case result.SelfTail:
		return reach{why: whyRecursive}
	}
	deepest := 0
	for _, to := range result.Calls {
		r := g.callee(to)
		if r.why != "" {
			return reach{why: r.why}
		}
		deepest = max(deepest, r.depth)
	}
	if deepest++; deepest > maxReturns {
		return reach{why: whyDeep}
	}
	return reach{depth: deepest}
}

// callee finds out about the function that a call leads to.
func (g *callGraph) callee(addr uint64) reach {
	t := g.p.t
	i := t.find(addr)
	if i < 0 || t.syms[t.entries[i].first].flags&symIFunc != 0 {
		return g.stub(addr)
	}
	e := t.entries[i]
	return g.visit(addr, func() (sites.Result, string) {
		b := g.p.body(e)
		name := strings.Clone(t.display(e))
		if b.lang == trace.LangGo {
			return sites.Result{}, "it calls Go code (" + name + ")"
		}
		if err := t.precheck(e, b.size); err != nil {
			return sites.Result{}, "it calls " + name + ", which can't be analysed (" + reasonOf(err) + ")"
		}
		result, err := g.p.analyze(b, 0)
		if err != nil {
			return sites.Result{}, "it calls " + name + ", which can't be analysed (" + reasonOf(err) + ")"
		}
		return result, ""
	})
}

// stub finds out about a call that leads to another file, or through the
// linkage table to an indirect function.
func (g *callGraph) stub(addr uint64) reach {
	if g.plt == nil {
		g.plt = readStubs(g.p.f, g.p.t)
	}
	name := g.plt.name(addr)
	switch {
	case name == "":
		return reach{why: "it calls code without a symbol"}
	case harmless[name]:
		return reach{depth: 1}
	default:
		return reach{why: "it calls " + strings.Clone(demangled(name)) + " of another file, which may unwind through it"}
	}
}

// harmless lists functions of the C library through which nothing unwinds into
// their callers: they call nobody back, throw nothing and are no cancellation
// points (POSIX.1-2017, section 2.9.5, and glibc's own additions).
var harmless = set(`
	memcpy memmove memset memcmp memchr memrchr rawmemchr memmem mempcpy memccpy bcopy bzero bcmp explicit_bzero
	__memcpy_chk __memmove_chk __memset_chk __mempcpy_chk __explicit_bzero_chk
	strlen strnlen strcpy strncpy strcat strncat strcmp strncmp strcasecmp strncasecmp strchr strrchr strchrnul strstr strcasestr
	strspn strcspn strpbrk strtok strtok_r __strtok_r strsep stpcpy stpncpy strdup strndup __strdup strcoll strxfrm
	strerror strerror_r __xpg_strerror_r strsignal index rindex basename __xpg_basename
	__strcpy_chk __strncpy_chk __strcat_chk __strncat_chk __stpcpy_chk
	strtol strtoul strtoll strtoull strtod strtof strtold strtoimax strtoumax atoi atol atoll atof
	__isoc23_strtol __isoc23_strtoul __isoc23_strtoll __isoc23_strtoull
	malloc calloc realloc reallocarray free memalign aligned_alloc posix_memalign malloc_usable_size valloc
	abs labs llabs div ldiv lldiv rand srand rand_r random srandom drand48 lrand48
	isalnum isalpha isascii isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper isxdigit tolower toupper
	__ctype_b_loc __ctype_tolower_loc __ctype_toupper_loc __ctype_get_mb_cur_max
	mblen mbrlen mbtowc mbrtowc mbstowcs wctomb wcrtomb wcstombs wcslen wcscpy wcscmp wcschr wmemcpy wmemset iswspace iswalnum towlower towupper
	__errno_location __h_errno_location getenv secure_getenv
	getpid getppid gettid getuid geteuid getgid getegid getpagesize sysconf gethostname uname getrusage getrlimit setrlimit getpriority
	time clock clock_gettime clock_getres gettimeofday difftime mktime timegm gmtime gmtime_r localtime localtime_r
	htons htonl ntohs ntohl inet_ntop inet_pton inet_addr inet_aton inet_ntoa
	socket bind listen setsockopt getsockopt getsockname getpeername shutdown
	pipe pipe2 dup dup2 dup3 lseek lseek64 ftruncate ftruncate64 isatty getcwd umask chmod fchmod access
	mmap mmap64 munmap mprotect madvise mlock munlock brk sbrk
	epoll_create epoll_create1 epoll_ctl eventfd timerfd_create timerfd_settime signalfd
	sigemptyset sigfillset sigaddset sigdelset sigismember sigprocmask pthread_sigmask kill
	pthread_self pthread_equal pthread_mutex_init pthread_mutex_destroy pthread_mutex_lock pthread_mutex_trylock pthread_mutex_unlock
	pthread_mutexattr_init pthread_mutexattr_settype pthread_mutexattr_destroy pthread_rwlock_init pthread_rwlock_destroy pthread_rwlock_unlock
	pthread_spin_init pthread_spin_lock pthread_spin_trylock pthread_spin_unlock pthread_cond_init pthread_cond_destroy pthread_cond_signal
	pthread_cond_broadcast pthread_key_create pthread_getspecific pthread_setspecific pthread_attr_init pthread_attr_destroy
	sem_init sem_destroy sem_post sem_trywait sched_yield
	acos acosf asin asinf atan atanf atan2 atan2f cos cosf sin sinf tan tanf sincos sincosf cosh sinh tanh acosh asinh atanh
	exp expf exp2 exp2f exp10 expm1 log logf log2 log2f log10 log10f log1p pow powf sqrt sqrtf cbrt hypot hypotf
	ceil ceilf floor floorf round roundf trunc truncf rint rintf nearbyint lround lroundf llround lrint lrintf llrint fabs fabsf fmod fmodf
	fmin fminf fmax fmaxf fma fmaf frexp ldexp modf modff scalbn scalbln copysign nan remainder erf erfc tgamma lgamma lgamma_r
	abort __stack_chk_fail __chk_fail __fortify_fail __assert_fail __assert_perror_fail _exit _Exit __tls_get_addr __cxa_pure_virtual
`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}
