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

// An archive is the file format of a backup: lines of text, compressed in blocks that have a
// checksum each, and a checksum over all of them. The format does not depend on the contents of the
// lines.
//
// Numbers are in big-endian order. An archive consists of:
//
//	"notesd backup 1\n"
//	any number of blocks:
//	    4 bytes   length of the compressed data, above 0
//	    4 bytes   CRC-32C of the compressed data
//	    …         a Zstandard frame: lines, each with its newline
//	4 bytes   0
//	32 bytes  SHA-256 of everything before them
//
// A reader promises that a file which it has read to its end is, byte for byte, one that a writer
// has closed. Reader and writer hold one block in memory, which is a megabyte or one line that is
// longer. A reader allocates memory for no more than the longest line that its caller expects,
// whatever the file says of itself.

const (
	magic     = "notesd backup 1\n"
	blockSize = 1 << 20 // bytes of lines, after which a block is written
	maxBlock  = 1 << 30 // bytes of lines; no note makes a longer line
)

// ErrDamaged: the file is no backup, or not a complete one, or it has been changed.
var ErrDamaged = errors.New("not a whole backup")

// ErrTooLong: a line may be longer than the reader was told to expect.
var ErrTooLong = errors.New("a block is too large")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Writer writes a backup. The backup is complete only after Close.
type Writer struct {
	out     io.Writer // the underlying writer and sum
	sum     hash.Hash
	packer  *zstd.Encoder
	lines   []byte
	packed  []byte
	longest int
}

// NewWriter begins a backup. The caller must close the Writer.
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
	if bytes.IndexByte(line, '\n') >= 0 || len(line) >= maxBlock {
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

// Longest returns the length of the longest line. A reader of the backup needs it.
func (w *Writer) Longest() int { return w.longest }

// Flush ends a block. Later lines begin another.
func (w *Writer) Flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	w.packed = w.packer.EncodeAll(w.lines, w.packed[:0])
	w.lines = w.lines[:0]
	if cap(w.lines) > 4*blockSize { // a long line's buffer is not kept for ever
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

// Close writes the remaining lines and the checksum. It does not close the underlying writer.
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

// A Reader reads a backup. Its errors are ErrDamaged and ErrTooLong, which say where in the file,
// and those of the underlying reader.
type Reader struct {
	in       io.Reader // raw, with what is read added to sum
	raw      io.Reader
	sum      hash.Hash
	unpacker *zstd.Decoder
	maxBlock int   // maximum bytes of a block, decompressed
	at       int64 // bytes read
	packed   bytes.Buffer
	room     []byte // buffer for lines
	lines    []byte // lines that Next has not returned yet
}

// NewReader begins to read a backup whose lines have at most longest bytes each. The caller must
// close the Reader.
func NewReader(in io.Reader, maxLine int) (*Reader, error) {
	maxBlockSize := min(max(maxLine, blockSize), maxBlock) + 1 // with the newline
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(uint64(maxBlockSize)))
	if err != nil {
		return nil, err
	}
	r := &Reader{raw: in, sum: sha256.New(), unpacker: unpacker, maxBlock: maxBlockSize}
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

// Close frees the Reader's resources. It does not close the underlying reader.
func (r *Reader) Close() { r.unpacker.Close() }

// Next returns the next line, without its newline. The line is valid until the next call. After the
// last line, once the checksum is verified, Next returns io.EOF.
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
	tooLong := int64(length) > packedSize(r.maxBlock)
	r.packed.Reset()
	var kept io.Writer = &r.packed // it grows only by the data that is there
	if tooLong {
		kept = io.Discard // the checksum shows whether that length is right
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

// packedSize bounds the compressed size of n bytes that can't be compressed. Zstandard adds 3 bytes
// to each 128 KiB, and 18 for the frame.
func packedSize(n int) int64 { return int64(n) + int64(n)>>14 + 64 }

func (r *Reader) tooLong(at int64) error {
	return fmt.Errorf("%w: the one at byte %d has more than %d bytes", ErrTooLong, at, r.maxBlock)
}

// end verifies the checksum, and checks that nothing follows it.
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

// cut returns ErrDamaged with the position if the file ends too early.
func (r *Reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it breaks off at byte %d", ErrDamaged, r.at)
	}
	return err
}

func damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("%w: the block at byte %d is damaged: %s", ErrDamaged, at, fmt.Sprintf(format, args...))
}
