package writer

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The bytes that SQLite locks for writing: of the index of a write-ahead log
// (https://sqlite.org/walformat.html, 2.3.1), and, by who wants the file alone, of the
// file itself (https://sqlite.org/fileformat.html, 1.2.10).
const (
	walWriteByte = 120
	pendingByte  = 1 << 30
)

// holder names the process that holds the lock for writing the database at
// path, as in "process 4711 (sqlite3)". It is empty where nobody else does, or
// that can't be told: in another pid namespace, or on another machine. It opens
// neither of the files: closing them would drop this process's own locks.
func holder(path string) string {
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	log, file := place(path+"-shm"), place(path)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		var number, class, kind, access, at, end string
		var pid int
		var first uint64
		if n, _ := fmt.Sscan(lines.Text(), &number, &class, &kind, &access, &pid, &at, &first, &end); n < 8 || class != "POSIX" || access != "WRITE" {
			continue
		}
		last := ^uint64(0)
		_, _ = fmt.Sscan(end, &last) // EOF is no number
		writes := at == log && first <= walWriteByte && last >= walWriteByte || at == file && last >= pendingByte
		if !writes || pid <= 0 || pid == os.Getpid() {
			continue
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // it may have ended
		return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))
	}
	return ""
}

// place is a file as /proc/locks has it; empty when there is none.
func place(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	return fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
}
