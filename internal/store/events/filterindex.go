package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Filters stay in the blocks' files: of each a lookup reads the 32 bytes in which a hash has its bits, and the system's
// page cache keeps what is asked for often. In memory is only where each filter lies.

// groupFilters are the filters of one row group.
type groupFilters struct{ traces, words filterAt }

// filterAt is a filter in a file. A filter that cannot be read says that everything may be there.
type filterAt struct {
	file     io.ReaderAt
	at, size int64
}

// has tells whether a hash may have been added.
func (f filterAt) has(h uint64) bool {
	if f.size == 0 {
		return false
	}
	var b [bloomBlock]byte
	if _, err := f.file.ReadAt(b[:], f.at+blockOf(h, f.size)); err != nil {
		return true
	}
	return bloom(b[:]).has(h)
}

// whole is the filter in memory.
func (f filterAt) whole() interface{ has(uint64) bool } {
	out := make(bloom, f.size)
	if _, err := f.file.ReadAt(out, f.at); err != nil {
		return f
	}
	return out
}

// filterCatalog knows where the filters of blocks lie that were asked for. It is safe for concurrent use.
type filterCatalog struct {
	mu    sync.Mutex // guards known
	known map[*block]*filterIndex
}

// filterIndex is where a block's filters lie, by row group; without groups everything may be in the block.
type filterIndex struct {
	once   sync.Once
	groups []groupFilters // without their file
}

// of returns where the filters of a block lie. It reads and checks all of them when it is first asked.
func (c *filterCatalog) of(b *block) []groupFilters {
	c.mu.Lock()
	x := c.known[b]
	if x == nil {
		if c.known == nil {
			c.known = map[*block]*filterIndex{}
		}
		x = &filterIndex{}
		c.known[b] = x
	}
	c.mu.Unlock()
	x.once.Do(func() { x.groups, _ = readFilterIndex(b) })
	return x.groups
}

// forget is for a block that is gone.
func (c *filterCatalog) forget(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, b)
}

// readFilterIndex finds the filters in a block's file.
func readFilterIndex(b *block) (groups []groupFilters, err error) {
	s := b.layout.Filters
	if s.Rows < 1 {
		return nil, errors.New("filters of no rows")
	}
	content, at, err := readSection(b.path, s.section, 0)
	if err != nil {
		return nil, fmt.Errorf("read filters: %w", err)
	}
	end := at + int64(len(content))
	next := func() (f filterAt) {
		if len(content) < 4 {
			err = errors.New("filters end too soon")
			return f
		}
		f.size = int64(binary.LittleEndian.Uint32(content))
		if content = content[4:]; f.size > int64(len(content)) || f.size%bloomBlock != 0 {
			err = errors.New("a filter is longer than all filters")
			return f
		}
		f.at = end - int64(len(content))
		content = content[f.size:]
		return f
	}
	for len(content) > 0 && err == nil {
		groups = append(groups, groupFilters{next(), next()})
	}
	if err == nil && int64(len(groups)) != (b.layout.Rows+s.Rows-1)/s.Rows {
		err = fmt.Errorf("filters of %d row groups for %d rows", len(groups), b.layout.Rows)
	}
	if err != nil {
		return nil, err
	}
	return groups, nil
}

// possible tells which row groups of a block may have rows that need; known is false if all may.
func (c *filterCatalog) possible(b *block, n need) (may []bool, known bool) {
	if n == nil || b.layout.Filters == nil {
		return nil, false
	}
	groups := c.of(b)
	if groups == nil {
		return nil, false
	}
	f, err := os.Open(b.path)
	if err != nil {
		return nil, false // the query will say why
	}
	defer f.Close()
	may = make([]bool, len(groups))
	for i, g := range groups {
		g.traces.file, g.words.file = f, f
		may[i] = n(g)
	}
	return may, true
}

// stretches are the numbers of rows, first and last, of a block in which rows may be that need; whole if that is all of it.
func (c *filterCatalog) stretches(b *block, n need) (runs [][2]int64, whole bool) {
	may, known := c.possible(b, n)
	if !known {
		return nil, true
	}
	whole = true
	rows := b.layout.Filters.Rows
	for i, m := range may {
		if !m {
			whole = false
			continue
		}
		first, last := int64(i)*rows, int64(i+1)*rows-1
		if k := len(runs); k > 0 && runs[k-1][1] == first-1 {
			runs[k-1][1] = last
		} else {
			runs = append(runs, [2]int64{first, last})
		}
	}
	if len(runs) > maxRuns {
		runs = [][2]int64{{runs[0][0], runs[len(runs)-1][1]}}
	}
	return runs, whole
}
