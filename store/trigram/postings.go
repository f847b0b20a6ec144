package trigram

import (
	encoding "encoding/binary"
	"hash/crc32"
)

// appendList appends a list of ascending numbers to b: its length in bytes, and then the difference
// of each number from the one before. In most lists a difference takes one byte.
func appendList[T int64 | uint16](b []byte, list []T) []byte {
	var text []byte
	last := T(0)
	for _, n := range list {
		text = encoding.AppendUvarint(text, uint64(n-last))
		last = n
	}
	return append(encoding.AppendUvarint(b, uint64(len(text))), text...)
}

// readList splits the first list off b. ok is false if there is none.
func readList(b []byte) (list, rest []byte, ok bool) {
	length, n := encoding.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(length)], b[n+int(length):], true
}

// decodeDeltas calls each with the numbers of a list until it returns false. It reports whether the
// whole list was read.
func decodeDeltas(list []byte, each func(uint64) bool) bool {
	for last := uint64(0); len(list) > 0; {
		more, n := encoding.Uvarint(list)
		if n <= 0 || !each(last+more) {
			return false
		}
		last, list = last+more, list[n:]
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends a checksum.
func seal(b []byte) []byte {
	return encoding.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal checks and removes the checksum. ok is false if it does not match.
func unseal(b []byte) (_ []byte, ok bool) {
	end := len(b) - crc32.Size
	if end < 0 {
		return nil, false
	}
	return b[:end], encoding.LittleEndian.Uint32(b[end:]) == crc32.Checksum(b[:end], castagnoli)
}
