package trigram

import (
	encoding "encoding/binary"
	"hash/crc32"
)

// appendList writes ascending numbers: how many bytes follow, and what each
// number has more than the one before, which in most lists is a byte.
func appendList[T int64 | uint16](b []byte, list []T) []byte {
	var text []byte
	last := T(0)
	for _, n := range list {
		text = encoding.AppendUvarint(text, uint64(n-last))
		last = n
	}
	return append(encoding.AppendUvarint(b, uint64(len(text))), text...)
}

// readList cuts off the first list of b; not ok: there is none.
func readList(b []byte) (list, rest []byte, ok bool) {
	length, n := encoding.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(length)], b[n+int(length):], true
}

// decodeDeltas calls each with the numbers of a list until it returns false, and
// reports whether that was all.
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

// unseal takes it off again; not ok: it is another's.
func unseal(b []byte) (_ []byte, ok bool) {
	end := len(b) - crc32.Size
	if end < 0 {
		return nil, false
	}
	return b[:end], encoding.LittleEndian.Uint32(b[end:]) == crc32.Checksum(b[:end], castagnoli)
}
