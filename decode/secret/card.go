package secret

const (
	minCard, maxCard = 13, 19 // digits
	// minCutCard is how many digits at the end of a cut text are taken for a card number's
	// beginning. The first six only say who issued it.
	minCutCard = 7
)

// findCard finds the number of a payment card: 13 to 19 digits whose last one is their
// check digit, together or in groups as they are printed on cards. Those that begin with
// 0 or 1 are none; times since 1970 are among them.
func findCard(text []byte, cut bool) (Match, bool) {
	for i := 0; i < len(text); {
		if classes[text[i]] != classDigit {
			i++
			continue
		}
		end := run(text, i, digitChars)
		// Digits behind a decimal point are not one.
		fraction := i >= 2 && text[i-1] == '.' && classes[text[i-2]] == classDigit
		if !fraction && text[i] >= '2' {
			if to := cardAt(text, i, end, cut); to > 0 {
				return Match{i, to, "card number"}, true
			}
		}
		i = end
	}
	return Match{}, false
}

// cardAt gives where the card number ends whose first group of digits is text[start:end], or 0.
func cardAt(text []byte, start, end int, cut bool) int {
	var digits [maxCard]byte
	n, found := 0, 0
	separator := byte(0)
	for {
		if n+end-start > maxCard {
			return found
		}
		n += copy(digits[n:], text[start:end])
		if n >= minCard && checks(digits[:n]) {
			found = end
		}
		switch {
		case end == len(text) && cut && n >= minCutCard:
			return end
		case end == len(text):
			return found
		case separator == 0 && end-start == 4 && (text[end] == ' ' || text[end] == '-'):
			separator = text[end]
		case separator == 0 || text[end] != separator:
			return found
		}
		start = end + 1
		end = run(text, start, digitChars)
		if start == len(text) && cut && n >= minCutCard {
			return start
		}
		if end == start || end-start > 7 {
			return found
		}
	}
}

// checks tells whether the last digit is the check digit of those before it (Luhn).
func checks(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
