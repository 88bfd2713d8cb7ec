package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// Filters are kept in memory once a block was asked about. When those of all blocks together take more than is allowed, those
// not asked for for longest leave it; of these a lookup reads the 32 bytes in which a hash has its bits from the block's file.

// groupFilters are the filters of one row group.
type groupFilters struct{ traces, words filterAt }

// filterAt is a filter in a file, or in memory. A filter that cannot be read says that everything may be there.
type filterAt struct {
	file     io.ReaderAt
	content  bloom // nil if it is not in memory
	at, size int64
}

// has tells whether a hash may have been added.
func (f filterAt) has(h uint64) bool {
	if f.size == 0 {
		return false
	}
	if f.content != nil {
		return f.content.has(h)
	}
	var b [bloomBlock]byte
	if _, err := f.file.ReadAt(b[:], f.at+blockOf(h, f.size)); err != nil {
		return true
	}
	return bloom(b[:]).has(h)
}

// whole is the filter in memory.
func (f filterAt) whole() interface{ has(uint64) bool } {
	if f.content != nil {
		return f.content
	}
	out := make(bloom, f.size)
	if _, err := f.file.ReadAt(out, f.at); err != nil {
		return f
	}
	return out
}

// filterCatalog knows the filters of blocks that were asked for. It is safe for concurrent use.
type filterCatalog struct {
	mu    sync.Mutex // guards known, held and asked, and of each index size and asked
	known map[*block]*filterIndex
	limit int64 // of held; fixed
	held  int64 // bytes of filters in memory
	asked int64 // how often filters were asked for
}

// filterIndex is a block's filters, by row group; without groups everything may be in the block.
type filterIndex struct {
	once    sync.Once
	groups  []groupFilters                 // without their file
	content atomic.Pointer[[]groupFilters] // the same, in memory
	size    int64                          // of what is in memory
	asked   int64                          // when it was last asked for
}

// of returns the filters of a block; from a file, if inMemory is false. It reads and checks all of them when it is first asked.
func (c *filterCatalog) of(b *block) (groups []groupFilters, inMemory bool) {
	c.mu.Lock()
	x := c.known[b]
	if x == nil {
		if c.known == nil {
			c.known = map[*block]*filterIndex{}
		}
		x = &filterIndex{}
		c.known[b] = x
	}
	c.asked++
	x.asked = c.asked
	c.mu.Unlock()
	x.once.Do(func() {
		var content []groupFilters
		if x.groups, content, _ = readFilterIndex(b); content != nil {
			c.hold(b, x, content)
		}
	})
	if p := x.content.Load(); p != nil {
		return *p, true
	}
	return x.groups, false
}

// hold keeps a block's filters in memory, instead of those that were not asked for for longest.
func (c *filterCatalog) hold(b *block, x *filterIndex, content []groupFilters) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[b] != x {
		return // forgotten meanwhile
	}
	x.content.Store(&content)
	x.size = b.layout.Filters.Size
	c.held += x.size
	for c.held > c.limit {
		var oldest *filterIndex
		for _, o := range c.known {
			if o.size > 0 && (oldest == nil || o.asked < oldest.asked) {
				oldest = o
			}
		}
		c.drop(oldest)
	}
}

// drop takes filters out of memory. mu is held.
func (c *filterCatalog) drop(x *filterIndex) {
	c.held -= x.size
	x.size = 0
	x.content.Store(nil)
}

// forget is for a block that is gone.
func (c *filterCatalog) forget(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.known[b]; x != nil {
		c.drop(x)
		delete(c.known, b)
	}
}

// readFilterIndex finds the filters in a block's file, and returns them as they lie there and in memory.
func readFilterIndex(b *block) (groups, inMemory []groupFilters, err error) {
	s := b.layout.Filters
	if s.Rows < 1 {
		return nil, nil, errors.New("filters of no rows")
	}
	content, at, err := readSection(b.path, s.section, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("read filters: %w", err)
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
		f.content, content = bloom(content[:f.size:f.size]), content[f.size:]
		return f
	}
	for len(content) > 0 && err == nil {
		g := groupFilters{next(), next()}
		inMemory = append(inMemory, g)
		g.traces.content, g.words.content = nil, nil
		groups = append(groups, g)
	}
	if err == nil && int64(len(groups)) != (b.layout.Rows+s.Rows-1)/s.Rows {
		err = fmt.Errorf("filters of %d row groups for %d rows", len(groups), b.layout.Rows)
	}
	if err != nil {
		return nil, nil, err
	}
	return groups, inMemory, nil
}

// possible tells which row groups of a block may have rows that need; known is false if all may.
func (c *filterCatalog) possible(b *block, n need) (may []bool, known bool) {
	if n == nil || b.layout.Filters == nil {
		return nil, false
	}
	groups, inMemory := c.of(b)
	if groups == nil {
		return nil, false
	}
	var f *os.File
	if !inMemory {
		var err error
		if f, err = os.Open(b.path); err != nil {
			return nil, false // the query will say why
		}
		defer f.Close()
	}
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
