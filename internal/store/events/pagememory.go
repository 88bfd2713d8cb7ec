package events

import (
	"math/bits"
	"sync"
)

// pageMemory hands the memory of pages to the Parquet library, and takes it back for the next: a trace is read from
// some hundred of them. It is safe for concurrent use.
type pageMemory struct{ pools [32]sync.Pool }

func (m *pageMemory) Allocate(size int) []byte {
	if size == 0 {
		return nil
	}
	class := bits.Len(uint(size - 1))
	if class < 10 || class >= len(m.pools) {
		return make([]byte, size)
	}
	if p, ok := m.pools[class].Get().(*[]byte); ok {
		return (*p)[:size]
	}
	return make([]byte, size, 1<<class)
}

func (m *pageMemory) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	bigger := m.Allocate(size)
	copy(bigger, b)
	m.Free(b)
	return bigger
}

func (m *pageMemory) Free(b []byte) {
	if class := bits.Len(uint(cap(b)) >> 1); class >= 10 && class < len(m.pools) && cap(b) == 1<<class {
		m.pools[class].Put(&b)
	}
}

var pages pageMemory // of all stores
