// Package record keeps what was received, so that it can be received again: reports of bugs, exams and tests stand on
// recordings. It owns their bytes (docs/format/recording.md), the Tap that makes them from what a server accepts, and
// directories of them.
//
//	sink accepted a batch -> Tap.Offer -> each Subscription's queue -> stream (HTTP) -> Writer -> DIR/000001.rec.zst ...
//	Open(DIR) -> Records: in order of arrival, up to where a file is torn
//
// A recording holds what a sender sent and when it came, and nothing that is made of it: no derived series, no log
// templates, no request IDs. The package refuses to interpret, and to pass anything over in silence: what cannot be read
// is a Damage. A Tap is safe for concurrent use; readers and writers are not.
package record

import (
	"errors"
	"fmt"
	"time"

	"triage/internal/model"
)

// MediaType is the Content-Type of a recording sent over HTTP.
const MediaType = "application/vnd.triage.recording"

// Header says where and when a recording was made.
type Header struct {
	// Start is when it began.
	Start time.Time `json:"start"`
	// Host is the machine whose server received what is in it, Version that server's.
	Host    string `json:"host,omitempty"`
	Version string `json:"version,omitempty"`
	// Segment is the number of the file, from 1; 0 in a stream.
	Segment uint64 `json:"-"`
}

// Counts are items by signal. Samples include histograms.
type Counts struct {
	Batches int64 `json:"batches"`
	Spans   int64 `json:"spans"`
	Logs    int64 `json:"logs"`
	Samples int64 `json:"samples"`
	Changes int64 `json:"changes"`
}

// Items is how many there are in all.
func (c Counts) Items() int64 { return c.Spans + c.Logs + c.Samples + c.Changes }

// Add adds others.
func (c *Counts) Add(o Counts) {
	c.Batches += o.Batches
	c.Spans += o.Spans
	c.Logs += o.Logs
	c.Samples += o.Samples
	c.Changes += o.Changes
}

func countsOf(b *model.Batch) Counts {
	c := Counts{Batches: 1, Spans: int64(len(b.Spans)), Logs: int64(len(b.Logs)), Changes: int64(len(b.Changes))}
	for i := range b.Series {
		c.Samples += int64(len(b.Series[i].Samples) + len(b.Series[i].Histograms))
	}
	return c
}

// End is the last frame of a recording that was ended on purpose.
type End struct {
	At time.Time
	// Reason is empty when whoever recorded had enough, else why the server ended it.
	Reason string
}

// The reasons for which a server ends a recording.
const (
	// ReasonSlow means that the recorder did not take what it was given fast enough.
	ReasonSlow = "the recorder was too slow"
	// ReasonStopped means that the server stopped.
	ReasonStopped = "the server stopped"
)

// Damage is a part of a recording that cannot be read. What stands behind it in the same file is lost.
type Damage struct {
	File string `json:"file"`
	// Offset counts the bytes of the file, decompressed, that could be read.
	Offset int64 `json:"offset"`
	// Torn tells that the file merely ends too early, as after a crash.
	Torn   bool   `json:"torn"`
	Reason string `json:"reason"`
}

func (d Damage) String() string {
	if d.Torn {
		return fmt.Sprintf("%s is cut off after %d bytes; what came before is used", d.File, d.Offset)
	}
	return fmt.Sprintf("%s is damaged after %d bytes and what follows in it is lost: %s", d.File, d.Offset, d.Reason)
}

// Errors that callers branch on.
var (
	// ErrFormat is what a decoder says of bytes that are no recording.
	ErrFormat = errors.New("not a recording")
	// ErrVersion means that a recording was made by a later triage.
	ErrVersion = errors.New("recording of a later version")
	// ErrExists means that there is something where a recording should be written.
	ErrExists = errors.New("not empty")
	// ErrBusy means that as many recordings are being made as may be.
	ErrBusy = errors.New("too many recordings are being made")
)
