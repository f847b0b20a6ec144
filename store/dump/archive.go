package dump

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// An archive is the file that a backup is: lines of text, packed into blocks that are
// checked one by one, and a checksum over all of them. What the lines say is not its
// business.
//
// It is, with numbers in big-endian order:
//
//	"notesd backup 1\n"
//	any number of blocks:
//	    4 bytes   length of what is packed, above 0
//	    4 bytes   CRC-32C of what is packed
//	    …         a Zstandard frame: lines, each with its newline
//	4 bytes   0
//	32 bytes  SHA-256 of everything before them
//
// A reader promises that a file which it has read to its end is, byte for byte,
// one that a writer has closed. Both hold one block in memory, which is a
// megabyte or one line that is longer. What a reader makes room for is bounded by
// the longest line that its caller expects, whatever the file says of itself.

const (
	magic     = "notesd backup 1\n"
	blockSize = 1 << 20 // of lines, after which a block is written
	mostBlock = 1 << 30 // of lines: one that is longer is no note
)

// ErrDamaged: it is no backup, or not all of one, or it has been changed.
var ErrDamaged = errors.New("not a whole backup")

// ErrTooLong: a line may be longer than the reader was told to expect.
var ErrTooLong = errors.New("a block is too large")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Writer writes a backup. Only Close makes it one.
type Writer struct {
	out     io.Writer // and the sum
	sum     hash.Hash
	packer  *zstd.Encoder
	lines   []byte
	packed  []byte
	longest int
}

// NewWriter begins a backup. Who writes it closes it.
func NewWriter(out io.Writer) (*Writer, error) {
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	w := &Writer{sum: sha256.New(), packer: packer}
	w.out = io.MultiWriter(out, w.sum)
	_, err = io.WriteString(w.out, magic)
	return w, err
}

// Line adds a line, which is given without its newline.
func (w *Writer) Line(line []byte) error {
	if bytes.IndexByte(line, '\n') >= 0 || len(line) >= mostBlock {
		return fmt.Errorf("%d bytes can't be one line of a backup", len(line))
	}
	if len(w.lines) > 0 && len(w.lines)+len(line) >= blockSize {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	w.lines = append(append(w.lines, line...), '\n')
	w.longest = max(w.longest, len(line))
	return nil
}

// Longest is how long the longest line was: what a reader of the backup is told.
func (w *Writer) Longest() int { return w.longest }

// Flush ends a block: what follows begins another.
func (w *Writer) Flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	w.packed = w.packer.EncodeAll(w.lines, w.packed[:0])
	w.lines = w.lines[:0]
	if cap(w.lines) > 4*blockSize { // one long line is no reason to keep the room for ever
		w.lines = nil
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(w.packed)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(w.packed, castagnoli))
	if _, err := w.out.Write(head); err != nil {
		return err
	}
	_, err := w.out.Write(w.packed)
	return err
}

// Close writes what is left and the checksum. It does not close what it writes to.
func (w *Writer) Close() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := w.out.Write(make([]byte, 4)); err != nil {
		return err
	}
	_, err := w.out.Write(w.sum.Sum(nil))
	return errors.Join(err, w.packer.Close())
}

// A Reader reads a backup. Its errors are ErrDamaged and ErrTooLong, which say
// where, and those of what it reads from.
type Reader struct {
	in       io.Reader // and the sum
	raw      io.Reader
	sum      hash.Hash
	unpacker *zstd.Decoder
	most     int   // bytes of a block, unpacked
	at       int64 // bytes read
	packed   bytes.Buffer
	room     []byte // of lines
	lines    []byte // those not yet given out
}

// NewReader begins to read a backup whose lines have at most longest bytes each.
// Who reads it closes it.
func NewReader(in io.Reader, longest int) (*Reader, error) {
	most := min(max(longest, blockSize), mostBlock) + 1 // with the newline
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(most)))
	if err != nil {
		return nil, err
	}
	r := &Reader{raw: in, sum: sha256.New(), unpacker: unpacker, most: most}
	r.in = io.TeeReader(in, r.sum)
	head := make([]byte, len(magic))
	err = r.read(head)
	if err == nil && string(head) != magic {
		err = fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close lets go of what reading takes. It does not close what is read from.
func (r *Reader) Close() { r.unpacker.Close() }

// Next returns the next line, without its newline, which is good until the next
// call. After the last line, once the checksum is right, it returns io.EOF.
func (r *Reader) Next() ([]byte, error) {
	if len(r.lines) == 0 {
		if err := r.nextBlock(); err != nil {
			return nil, err
		}
	}
	line, rest, _ := bytes.Cut(r.lines, []byte{'\n'})
	r.lines = rest
	return line, nil
}

func (r *Reader) nextBlock() error {
	began := r.at
	length, err := r.number()
	if err != nil {
		return err
	}
	if length == 0 {
		return r.end()
	}
	sum, err := r.number()
	if err != nil {
		return err
	}
	tooLong := int64(length) > packedSize(r.most)
	r.packed.Reset()
	var kept io.Writer = &r.packed // which makes room only for what is there
	if tooLong {
		kept = io.Discard // the checksum tells whether that is its length
	}
	check := crc32.New(castagnoli)
	n, err := io.CopyN(io.MultiWriter(check, kept), r.in, int64(length))
	r.at += n
	switch {
	case err != nil:
		return r.cut(err)
	case check.Sum32() != sum:
		return damaged(began, "its checksum is wrong")
	case tooLong:
		return r.tooLong(began)
	}
	r.room, err = r.unpacker.DecodeAll(r.packed.Bytes(), r.room[:0])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return r.tooLong(began)
	}
	if err != nil {
		return damaged(began, "%v", err)
	}
	if len(r.room) == 0 || r.room[len(r.room)-1] != '\n' {
		return damaged(began, "it does not end with a line")
	}
	r.lines = r.room
	return nil
}

// packedSize bounds what n bytes become that do not get smaller: Zstandard adds 3
// bytes to each 128 KiB, and 18 for the frame.
func packedSize(n int) int64 { return int64(n) + int64(n)>>14 + 64 }

func (r *Reader) tooLong(at int64) error {
	return fmt.Errorf("%w: the one at byte %d has more than %d bytes", ErrTooLong, at, r.most)
}

// end checks the checksum, and that nothing follows it.
func (r *Reader) end() error {
	want := r.sum.Sum(nil)
	have := make([]byte, len(want))
	if err := r.read(have); err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%w: the checksum at its end is wrong", ErrDamaged)
	}
	switch n, err := io.ReadFull(r.raw, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%w: something follows its end, at byte %d", ErrDamaged, r.at)
	case err != io.EOF:
		return err
	}
	return io.EOF
}

func (r *Reader) number() (uint32, error) {
	var four [4]byte
	err := r.read(four[:])
	return binary.BigEndian.Uint32(four[:]), err
}

func (r *Reader) read(p []byte) error {
	n, err := io.ReadFull(r.in, p)
	r.at += int64(n)
	return r.cut(err)
}

// cut says of a file that ends too early where that is.
func (r *Reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it breaks off at byte %d", ErrDamaged, r.at)
	}
	return err
}

func damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("%w: the block at byte %d is damaged: %s", ErrDamaged, at, fmt.Sprintf(format, args...))
}
