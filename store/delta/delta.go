// Package delta stores a text as what differs from another text, its base. It is pure: it knows
// nothing of notes or of SQL.
//
// A delta consists of:
//
//	uvarint   how many bytes at the beginning the text shares with its base
//	uvarint   how many bytes at the end the text shares with its base
//	uvarint   twice the length of what lies between, plus 1 if that is compressed
//	8 bytes   the beginning of the SHA-256 of the whole text
//	…         what lies between: as it is, or a Zstandard frame whose dictionary is what lies
//	          between the shared ends of the base
//
// The shared ends are cut off first, because Zstandard searches only its window: an edit at one
// place of a long text then costs a few bytes, however long the text is.
package delta

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// ErrDamaged means that a delta cannot be decoded, or that the text it was made against is another.
var ErrDamaged = errors.New("damaged delta")

const (
	dictionaryID = 1 // it is no proof of the base: the checksum is
	checksumSize = 8

	// windowSize is how far back the encoder looks. Its memory grows with it.
	windowSize = 1 << 20

	// minCompressed is the shortest text that is compressed. A frame alone has 25 bytes.
	minCompressed = 32
)

// An Encoder makes deltas. It holds some megabytes of memory, and is not safe for concurrent use.
type Encoder struct{ zstd *zstd.Encoder }

// NewEncoder returns an Encoder.
func NewEncoder() (*Encoder, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowSize),
		zstd.WithSingleSegment(true),            // so that every frame says its length
		zstd.WithAllLitEntropyCompression(true)) // also of a text that shares nothing with its base
	return &Encoder{e}, err
}

// Encode returns the delta from which Decode makes text, given base.
func (e *Encoder) Encode(text, base string) ([]byte, error) {
	head, tail := sharedEnds(text, base)
	between, dictionary := text[head:len(text)-tail], base[head:len(base)-tail]
	packed, compressed := []byte(between), uint64(0)
	if len(between) >= minCompressed {
		frame, err := e.compress(packed, []byte(dictionary))
		if err != nil {
			return nil, err
		}
		if len(frame) < len(packed) {
			packed, compressed = frame, 1
		}
	}
	delta := make([]byte, 0, 3*binary.MaxVarintLen32+checksumSize+len(packed))
	delta = binary.AppendUvarint(delta, uint64(head))
	delta = binary.AppendUvarint(delta, uint64(tail))
	delta = binary.AppendUvarint(delta, uint64(len(between))<<1|compressed)
	sum := sha256.Sum256([]byte(text))
	return append(append(delta, sum[:checksumSize]...), packed...), nil
}

func (e *Encoder) compress(text, dictionary []byte) ([]byte, error) {
	option := zstd.WithEncoderDictRaw(dictionaryID, dictionary)
	if len(dictionary) == 0 { // which the option refuses
		option = zstd.WithEncoderDictDelete()
	}
	if err := e.zstd.ResetWithOptions(nil, option); err != nil {
		return nil, fmt.Errorf("set the dictionary: %w", err)
	}
	return e.zstd.EncodeAll(text, nil), nil
}

// sharedEnds returns how many bytes text and base share at their beginnings and ends. The two
// shared parts don't overlap in either text.
func sharedEnds(text, base string) (head, tail int) {
	most := min(len(text), len(base))
	for head < most && text[head] == base[head] {
		head++
	}
	for tail < most-head && text[len(text)-1-tail] == base[len(base)-1-tail] {
		tail++
	}
	return head, tail
}

// A Decoder reads deltas. Its zero value is ready, and safe for concurrent use.
type Decoder struct {
	idle sync.Pool // of *zstd.Decoder; each costs 20 µs to reuse
}

// Decode returns the text of a delta that was made against base. If the delta or base is not what
// it was, the error is ErrDamaged.
func (d *Decoder) Decode(delta []byte, base string) (string, error) {
	head, rest, ok1 := readLength(delta)
	tail, rest, ok2 := readLength(rest)
	between, rest, ok3 := readLength(rest)
	compressed := between&1 == 1
	between >>= 1
	if !ok1 || !ok2 || !ok3 || len(rest) < checksumSize || head+tail > len(base) {
		return "", fmt.Errorf("%w: its head does not fit", ErrDamaged)
	}
	sum, packed := rest[:checksumSize], rest[checksumSize:]
	if !compressed && len(packed) != between {
		return "", fmt.Errorf("%w: it has %d bytes in place of %d", ErrDamaged, len(packed), between)
	}
	if compressed {
		var err error
		if packed, err = d.decompress(packed, []byte(base[head:len(base)-tail]), between); err != nil {
			return "", err
		}
	}
	text := make([]byte, 0, head+between+tail)
	text = append(append(append(text, base[:head]...), packed...), base[len(base)-tail:]...)
	if have := sha256.Sum256(text); string(have[:checksumSize]) != string(sum) {
		return "", fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	if !utf8.Valid(text) {
		return "", fmt.Errorf("%w: it is not valid UTF-8", ErrDamaged)
	}
	return string(text), nil
}

// readLength splits the first number off b. No text is as long as the largest number that it
// accepts.
func readLength(b []byte) (length int, rest []byte, ok bool) {
	number, n := binary.Uvarint(b)
	if n <= 0 || number > math.MaxInt32 {
		return 0, nil, false
	}
	return int(number), b[n:], true
}

// decompress returns the text of a frame, which must have the length of want bytes. It allocates no
// more for a frame of another length.
func (d *Decoder) decompress(frame, dictionary []byte, want int) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(frame); err != nil || !head.HasFCS || head.FrameContentSize != uint64(want) {
		return nil, fmt.Errorf("%w: its frame has not %d bytes", ErrDamaged, want)
	}
	decoder, _ := d.idle.Get().(*zstd.Decoder)
	if decoder == nil {
		var err error
		if decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecodeAllCapLimit(true)); err != nil {
			return nil, err
		}
	}
	option := zstd.WithDecoderDictDelete(dictionaryID)
	if len(dictionary) > 0 {
		option = zstd.WithDecoderDictRaw(dictionaryID, dictionary)
	}
	if err := decoder.ResetWithOptions(nil, option); err != nil {
		return nil, fmt.Errorf("set the dictionary: %w", err)
	}
	text, err := decoder.DecodeAll(frame, make([]byte, 0, want))
	// A decoder that waits for its next use keeps no text.
	if decoder.ResetWithOptions(nil, zstd.WithDecoderDictDelete(dictionaryID)) == nil {
		d.idle.Put(decoder)
	}
	if err != nil || len(text) != want {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, errors.Join(err, lengthError(len(text), want)))
	}
	return text, nil
}

func lengthError(have, want int) error {
	if have == want {
		return nil
	}
	return fmt.Errorf("it has %d bytes in place of %d", have, want)
}
