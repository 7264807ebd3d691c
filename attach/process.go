package attach

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/trace"
)

// ErrNoProcess says that a process does not exist, or that it ended meanwhile.
var ErrNoProcess = errors.New("no such process")

// FileID is a file as the kernel knows it. Two containers of one image may show
// one inode number on different devices.
type FileID struct {
	Dev   uint64 // st_dev
	Inode uint64
}

// Mapping is a file of which a process has mapped code.
type Mapping struct {
	Path  string // as the process sees it
	ID    FileID // as the process's memory map shows it
	Start uint64 // lowest address of the executable mapping
	End   uint64
	// Offset is the file offset mapped at Start, bytes.
	Offset uint64
}

// region is a line of /proc/PID/maps.
type region struct {
	Mapping
	exec bool
}

// memoryMap reads a process's memory map, in order of the addresses.
func memoryMap(pid int) ([]region, error) {
	f, err := os.Open(procPath(pid, "maps"))
	if err != nil {
		return nil, processError(pid, err)
	}
	defer f.Close()
	var out []region
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 0, 8192), 1<<20)
	for sc.Scan() {
		if r, ok := parseRegion(sc.Text()); ok {
			out = append(out, r)
		}
	}
	// A process that ends while its map is read gives an empty or a cut one.
	if err := sc.Err(); err != nil {
		return nil, processError(pid, err)
	}
	return out, nil
}

// mappings lists the files whose code a process has mapped, each once (its first
// executable mapping).
func mappings(pid int) ([]Mapping, error) {
	regions, err := memoryMap(pid)
	if err != nil {
		return nil, err
	}
	var out []Mapping
	seen := map[FileID]bool{}
	for _, r := range regions {
		if !r.exec || r.ID.Inode == 0 || seen[r.ID] || !strings.HasPrefix(r.Path, "/") {
			continue
		}
		seen[r.ID] = true
		out = append(out, r.Mapping)
	}
	return out, nil
}

// parseRegion reads a line of /proc/PID/maps: start-end perms offset dev inode path.
func parseRegion(line string) (region, bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 || len(fields[1]) < 3 {
		return region{}, false
	}
	from, to, ok := strings.Cut(fields[0], "-")
	major, minor, ok2 := strings.Cut(fields[3], ":")
	if !ok || !ok2 {
		return region{}, false
	}
	var bad error
	hex := func(s string) uint64 {
		v, err := strconv.ParseUint(s, 16, 64)
		bad = errors.Join(bad, err)
		return v
	}
	r := region{exec: fields[1][2] == 'x'}
	r.Start, r.End, r.Offset = hex(from), hex(to), hex(fields[2])
	r.ID.Dev = unix.Mkdev(uint32(hex(major)), uint32(hex(minor)))
	inode, err := strconv.ParseUint(fields[4], 10, 64)
	r.ID.Inode = inode
	if len(fields) == 6 {
		r.Path = strings.TrimLeft(fields[5], " ")
	}
	return r, bad == nil && err == nil
}

// fileIDOf identifies a file by its path.
func fileIDOf(path string) (FileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return FileID{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return FileID{Dev: st.Dev, Inode: st.Ino}, nil
}

// probedIDOf identifies the file that probes at a path go to. Containers of one image see
// one file of the kernel's, each through an overlay filesystem with a device of its own:
// probes that one of them is given fire in all. So there the time of the file's last
// change, ns, stands for the device.
func probedIDOf(path string) (FileID, error) {
	var st unix.Stat_t
	var fs unix.Statfs_t
	err := unix.Stat(path, &st)
	if err == nil {
		err = unix.Statfs(path, &fs)
	}
	if err != nil {
		return FileID{}, fmt.Errorf("stat %s: %w", path, err)
	}
	id := FileID{Dev: st.Dev, Inode: st.Ino}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		id.Dev = 1<<63 | uint64(st.Ctim.Nano()) // no device has this bit
	}
	return id, nil
}

// describe reads what is to be known of a running process.
func describe(pid int) (*trace.Process, error) {
	exe, err := os.Readlink(procPath(pid, "exe"))
	if err != nil {
		return nil, processError(pid, err)
	}
	comm, err := os.ReadFile(procPath(pid, "comm"))
	if err != nil {
		return nil, processError(pid, err)
	}
	start, err := startTime(pid)
	if err != nil {
		return nil, err
	}
	p := &trace.Process{PID: pid, Exe: strings.TrimSuffix(exe, " (deleted)"), Comm: strings.TrimSuffix(string(comm), "\n"), StartNS: start}
	p.Container = containerID(pid)
	return p, nil
}

// startTime is the wall-clock time, ns, at which a process started: field 22 of
// /proc/PID/stat, in clock ticks (USER_HZ, always 100) since boot.
func startTime(pid int) (int64, error) {
	raw, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, processError(pid, err)
	}
	// The command name, in parentheses, may hold anything; fields follow its last one.
	text := string(raw)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start time of process %d: stat has %d fields", pid, len(fields))
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	return bootTime() + ticks*10_000_000, nil
}

// bootTime is the wall-clock time, ns, of the boot.
func bootTime() int64 {
	var now, boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &now) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return now.Nano() - boot.Nano()
}

// containerID is the 64 hexadecimal digits by which container runtimes name a
// process's control group, or empty.
func containerID(pid int) string {
	raw, err := os.ReadFile(procPath(pid, "cgroup"))
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(raw), "\n") {
		for _, part := range strings.FieldsFunc(line, func(r rune) bool { return r == '/' || r == '-' || r == ':' || r == '.' }) {
			if len(part) == 64 && strings.Trim(part, "0123456789abcdef") == "" {
				return part
			}
		}
	}
	return ""
}

// Find lists the running processes, the caller's own excepted, that match keeps,
// in order of their ids. Kernel threads and processes that end meanwhile are left out.
func Find(keep func(p *trace.Process) bool) ([]*trace.Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []*trace.Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, err := describe(pid); err == nil && keep(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *trace.Process) int { return a.PID - b.PID })
	return found, nil
}

// exePath is a path by which the tracer can open a process's executable,
// whatever the mount namespace, even if it was replaced since.
func exePath(pid int) string { return procPath(pid, "exe") }

// mappedPath is a path by which the tracer can open a mapped file: below the
// process's own root, if the file is still there, else through its memory map
// (which needs CAP_CHECKPOINT_RESTORE).
func mappedPath(pid int, m Mapping) (string, error) {
	path := procPath(pid, "root") + m.Path
	id, err := fileIDOf(path)
	// Only the inode: filesystems such as overlayfs show another device in the map than stat does.
	if err == nil && id.Inode == m.ID.Inode {
		return path, nil
	}
	byMap := filepath.Join(procPath(pid, "map_files"), fmt.Sprintf("%x-%x", m.Start, m.End))
	if _, mapErr := os.Stat(byMap); mapErr == nil {
		return byMap, nil
	}
	if err != nil {
		return "", fmt.Errorf("open %s of process %d: %w", m.Path, pid, err)
	}
	return "", fmt.Errorf("open %s of process %d: the file on disk is no longer the one it runs; restart the process, or run with CAP_CHECKPOINT_RESTORE", m.Path, pid)
}

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// processError names the process, and tells a process that is gone from one that
// may not be looked at.
func processError(pid int, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		// A kernel thread has no executable.
		if _, statErr := os.Stat("/proc/" + strconv.Itoa(pid)); statErr == nil {
			return fmt.Errorf("process %d: it is a kernel thread or a zombie and has no executable: %w", pid, ErrNoProcess)
		}
		return fmt.Errorf("process %d: %w; pgrep -l NAME lists those that run, --name GLOB traces by name", pid, ErrNoProcess)
	}
	return fmt.Errorf("process %d: %w", pid, err)
}
