package devchain

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/gofrs/flock"
)

var (
	// ErrForeignLog means that the folder holds blocks of another genesis, as after a change of the devchain's
	// contracts or accounts. The chain in it cannot be continued: remove the folder to start afresh.
	ErrForeignLog = errors.New("the folder holds another chain's blocks; remove it to start afresh")
	// ErrDamagedLog means that a stored block does not read back or execute, and others follow it, so that leaving
	// it out would lose history that clients have seen. Remove the folder to start afresh.
	ErrDamagedLog = errors.New("the folder's block log is damaged; remove the folder to start afresh")
	// ErrDirInUse means that another chain runs on the folder.
	ErrDirInUse = errors.New("the folder is in use by another chain")
)

const (
	logName  = "blocks.log"
	lockName = "lock"
	logMagic = "p402-devchain blocks 1\n"

	headerSize = len(logMagic) + common.HashLength
	frameSize  = 8        // length and checksum, four bytes each, big endian
	maxRecord  = 64 << 20 // far above a block's limit of 10 MiB, far below what a garbled length may say
	batchSize  = 512      // blocks executed in one go at replay
)

// blockLog is the file of canonical blocks: a header (magic, genesis hash), then records. A record is what became
// canonical in one step: a list of blocks in RLP, each the child of the one before; framed by length and CRC-32C.
// Records are in the order of becoming canonical, so that of two branches the later wins, as it did.
type blockLog struct {
	file *os.File
	lock *flock.Flock
	torn int64 // bytes of an unfinished last record that were cut off
}

// openBlockLog opens or creates dir/blocks.log for the chain of that genesis and locks dir.
func openBlockLog(dir string, genesis common.Hash) (_ *blockLog, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create devchain folder: %w", err)
	}
	lock := flock.New(filepath.Join(dir, lockName))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock devchain folder: %w", err)
	}
	if !held {
		return nil, fmt.Errorf("%w: %s", ErrDirInUse, dir)
	}
	l := &blockLog{lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	l.file, err = os.OpenFile(filepath.Join(dir, logName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open block log: %w", err)
	}
	if err := l.checkHeader(dir, genesis); err != nil {
		return nil, err
	}
	return l, nil
}

// checkHeader compares the header, or writes it into a file that a crash left with less than one.
func (l *blockLog) checkHeader(dir string, genesis common.Hash) error {
	want := append([]byte(logMagic), genesis[:]...)
	have := make([]byte, headerSize)
	n, err := io.ReadFull(l.file, have)
	switch {
	case err == nil && bytes.Equal(have, want):
		return nil
	case err == nil:
		return fmt.Errorf("%w: %s", ErrForeignLog, dir)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read block log: %w", err)
	case !bytes.Equal(have[:n], want[:n]):
		return fmt.Errorf("%w: %s", ErrForeignLog, dir)
	}
	if _, err := l.file.WriteAt(want, 0); err != nil {
		return fmt.Errorf("write block log header: %w", err)
	}
	if _, err := l.file.Seek(int64(headerSize), io.SeekStart); err != nil {
		return fmt.Errorf("write block log header: %w", err)
	}
	return l.sync(dir)
}

// sync makes the file and its name durable.
func (l *blockLog) sync(dir string) error {
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync block log: %w", err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync devchain folder: %w", err)
	}
	// Not every system can sync a folder (Windows cannot); where it cannot, its file system orders names itself.
	_ = folder.Sync()
	return folder.Close()
}

// replay hands every stored block to insert, in batches in which each is the child of the one before, and leaves the
// file ready for append. An unfinished record at the end, which is what a crash leaves, is cut off.
func (l *blockLog) replay(ctx context.Context, insert func([]*types.Block) error) error {
	in := bufio.NewReaderSize(l.file, 1<<20)
	good := int64(headerSize)
	var batch []*types.Block
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		defer func() { batch = nil }()
		return insert(batch)
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("replay block log: %w", err)
		}
		blocks, size, err := readRecord(in)
		if err != nil {
			if err := l.cutTail(good, err); err != nil {
				return err
			}
			return flush()
		}
		good += size
		if n := len(batch); n >= batchSize || n > 0 && batch[n-1].Hash() != blocks[0].ParentHash() {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, blocks...)
	}
}

// errTorn is a record that was not written to its end, or not at all.
var errTorn = errors.New("incomplete record")

// readRecord returns the next record's blocks and its size in the file; io.EOF at the end of a whole file.
func readRecord(in io.Reader) ([]*types.Block, int64, error) {
	var frame [frameSize]byte
	if _, err := io.ReadFull(in, frame[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, 0, errTorn
		}
		return nil, 0, err
	}
	length, sum := binary.BigEndian.Uint32(frame[:4]), binary.BigEndian.Uint32(frame[4:])
	if length == 0 || length > maxRecord {
		return nil, 0, errTorn
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(in, payload); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, 0, errTorn
		}
		return nil, 0, err
	}
	if crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return nil, 0, errTorn
	}
	var blocks []*types.Block
	if err := rlp.DecodeBytes(payload, &blocks); err != nil || len(blocks) == 0 {
		return nil, 0, fmt.Errorf("%w: a record that passes its checksum is no list of blocks", ErrDamagedLog)
	}
	return blocks, frameSize + int64(length), nil
}

// cutTail judges what ended the reading at offset good: the end of the file, a torn record that is the last, or
// damage with more behind it.
func (l *blockLog) cutTail(good int64, cause error) error {
	if !errors.Is(cause, io.EOF) && !errors.Is(cause, errTorn) {
		return fmt.Errorf("read block log: %w", cause)
	}
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("read block log: %w", err)
	}
	l.torn = info.Size() - good
	if l.torn > 0 {
		last, err := l.isLast(good, l.torn)
		if err != nil {
			return err
		}
		if !last {
			return fmt.Errorf("%w: at byte %d of %d", ErrDamagedLog, good, info.Size())
		}
		if err := l.file.Truncate(good); err != nil {
			return fmt.Errorf("cut unfinished record: %w", err)
		}
		if err := l.file.Sync(); err != nil {
			return fmt.Errorf("cut unfinished record: %w", err)
		}
	}
	if _, err := l.file.Seek(good, io.SeekStart); err != nil {
		return fmt.Errorf("seek block log: %w", err)
	}
	return nil
}

// isLast reports whether the bad record at offset is one that a crash can leave: it reaches to the end of the file
// or beyond, or there are only zeros (a size that reached the disk before its data).
func (l *blockLog) isLast(offset, rest int64) (bool, error) {
	if rest < frameSize {
		return true, nil
	}
	var frame [frameSize]byte
	if _, err := l.file.ReadAt(frame[:], offset); err != nil {
		return false, fmt.Errorf("read block log: %w", err)
	}
	length := int64(binary.BigEndian.Uint32(frame[:4]))
	if length > 0 && length <= maxRecord && frameSize+length >= rest {
		return true, nil
	}
	in := bufio.NewReader(io.NewSectionReader(l.file, offset, rest))
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("read block log: %w", err)
		}
		if b != 0 {
			return false, nil
		}
	}
}

// append stores blocks that become canonical together; when it returns nil they are on disk.
func (l *blockLog) append(blocks []*types.Block) error {
	payload, err := rlp.EncodeToBytes(blocks)
	if err != nil {
		return fmt.Errorf("encode block: %w", err)
	}
	record := make([]byte, frameSize, frameSize+len(payload))
	binary.BigEndian.PutUint32(record[:4], uint32(len(payload)))
	binary.BigEndian.PutUint32(record[4:], crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := l.file.Write(append(record, payload...)); err != nil {
		return fmt.Errorf("append to block log: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync block log: %w", err)
	}
	return nil
}

// close releases the file and the folder.
func (l *blockLog) close() error {
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	return errors.Join(err, l.lock.Unlock())
}
