package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// Between the row groups and the footer of a block stand sections of bytes that are no business of Parquet's: sketches,
// then filters. The footer's triage.block says how long they are. See docs/format/blocks.md.

// section says how long a section is and what its checksum.
type section struct {
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

func sectionOf(content []byte) section {
	return section{int64(len(content)), crc32.Checksum(content, castagnoli)}
}

// readSection reads a section of a block's file and tells where it begins. behind is the size of the sections between it
// and the footer.
func readSection(path string, s section, behind int64) (content []byte, at int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	end, err := f.Seek(-8, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	var length [4]byte
	if _, err := f.ReadAt(length[:], end); err != nil {
		return nil, 0, err
	}
	at = end - int64(binary.LittleEndian.Uint32(length[:])) - behind - s.Size
	if at < 0 || s.Size < 0 || behind < 0 || s.Size > end {
		return nil, 0, errors.New("the section is outside of the file")
	}
	content = make([]byte, s.Size)
	if _, err := f.ReadAt(content, at); err != nil {
		return nil, 0, err
	}
	if got := crc32.Checksum(content, castagnoli); got != s.CRC {
		return nil, 0, fmt.Errorf("the section's checksum is %08x, not %08x", got, s.CRC)
	}
	return content, at, nil
}

// insertBeforeFooter puts sections between the row groups and the footer of the end of a Parquet file.
func insertBeforeFooter(end []byte, sections ...[]byte) ([]byte, error) {
	if len(end) < 8 {
		return nil, errors.New("the Parquet writer wrote no footer")
	}
	at := len(end) - 8 - int(binary.LittleEndian.Uint32(end[len(end)-8:]))
	if at < 0 {
		return nil, errors.New("the Parquet writer's footer is not whole")
	}
	return bytes.Join([][]byte{end[:at], bytes.Join(sections, nil), end[at:]}, nil), nil
}
