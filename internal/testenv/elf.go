package testenv

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// buildID is the GNU build id of an ELF file, in hexadecimal digits.
func buildID(path string) (string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("open program: %w", err)
	}
	defer file.Close()
	section := file.Section(".note.gnu.build-id")
	if section == nil {
		return "", errors.New("read build id: the program has none")
	}
	note, err := section.Data()
	if err != nil {
		return "", fmt.Errorf("read build id: %w", err)
	}
	// A note is the sizes of its name and its content, a type, the name "GNU\0" and the content.
	const header = 16
	if len(note) <= header+1 || int(binary.LittleEndian.Uint32(note[4:])) != len(note)-header {
		return "", errors.New("read build id: it is cut short")
	}
	return hex.EncodeToString(note[header:]), nil
}
