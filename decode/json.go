package decode

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. Bytes that aren't UTF-8 become U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := decodeRune(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, c)
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func decodeRune[T string | []byte](s T) (rune, int) {
	// At most one rune's bytes are copied.
	var b [utf8.UTFMax]byte
	n := copy(b[:], s)
	return utf8.DecodeRune(b[:n])
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendAddress appends {"<key>":"0x…"}.
func appendAddress(dst []byte, key string, addr uint64) []byte {
	dst = append(dst, `{"`...)
	dst = append(dst, key...)
	dst = append(dst, `":"0x`...)
	dst = strconv.AppendUint(dst, addr, 16)
	return append(dst, `"}`...)
}

// appendUnavailable appends {"$unavailable":"<reason>"}.
func appendUnavailable(dst []byte, reason string) []byte {
	dst = append(dst, `{"$unavailable":`...)
	dst = appendString(dst, reason)
	return append(dst, '}')
}

// appendRedacted appends {"$redacted":"<rule>"}.
func appendRedacted(dst []byte, rule string) []byte {
	dst = append(dst, `{"$redacted":`...)
	dst = appendString(dst, rule)
	return append(dst, '}')
}

// appendLen appends ,"$len":n} to an open object.
func appendLen(dst []byte, n uint64) []byte {
	dst = append(dst, `,"$len":`...)
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, '}')
}

// appendBytes appends {"$bytes":"base64","$len":n}.
func appendBytes(dst, b []byte, n uint64) []byte {
	dst = append(dst, `{"$bytes":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	dst = append(dst, '"')
	return appendLen(dst, n)
}

// appendFloat appends the shortest number that reads back the same; what JSON
// has no number for is a string.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"+Inf"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Inf"`...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}
