package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"triage/internal/model"
)

const (
	// ManifestName is the file that sums up a directory. It is for people; Open does without it where it is missing.
	ManifestName  = "recording.json"
	segmentSuffix = ".rec.zst"
	// segmentSize is about how large a file becomes, compressed: what damage to one can cost.
	segmentSize = 16 << 20
	// flushEvery bounds what a crash of the recorder costs.
	flushEvery = time.Second
	// window is how far back the compressor looks for what was there before.
	window = 8 << 20
)

// Manifest sums up a directory.
type Manifest struct {
	Format int       `json:"format"`
	Start  time.Time `json:"start"`
	// End is when recording ended; until then when the last whole segment did.
	End     time.Time `json:"end"`
	Host    string    `json:"host,omitempty"`
	Version string    `json:"version,omitempty"`
	// Complete tells that recording was ended on purpose and everything is there.
	Complete bool      `json:"complete"`
	Items    Counts    `json:"items"`
	Segments []Segment `json:"segments"`
}

// Segment is one finished file of a directory.
type Segment struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// Writer writes a directory. Close must be called for the recording to be complete; what was written until a crash can
// be read nevertheless.
type Writer struct {
	dir      string
	manifest Manifest
	header   *Header
	last     int64 // arrival of the newest batch, ns
	size     int64 // a segment is closed beyond it

	file    *os.File
	out     *counted
	zip     *zstd.Encoder
	flushed time.Time
}

// counted counts what goes to a file.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Create makes a directory for a recording. One that holds anything is refused with ErrExists.
func Create(dir string) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create recording: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("create recording: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("create recording: directory %s: %w", dir, ErrExists)
	}
	return &Writer{dir: dir, size: segmentSize, manifest: Manifest{Format: int(magic[len(magic)-1]), Segments: []Segment{}}}, nil
}

// Begin says when and where the recording was made, before the first batch.
func (w *Writer) Begin(h Header) error {
	h.Segment = 0
	w.header = &h
	w.manifest.Start, w.manifest.End = h.Start.UTC(), h.Start.UTC()
	w.manifest.Host, w.manifest.Version = h.Host, h.Version
	return w.openSegment()
}

// Counts is what was written so far.
func (w *Writer) Counts() Counts { return w.manifest.Items }

// Bytes is the size of what was written so far, but for what the compressor holds back.
func (w *Writer) Bytes() (n int64) {
	for _, s := range w.manifest.Segments {
		n += s.Bytes
	}
	if w.out != nil {
		n += w.out.n
	}
	return n
}

// Write writes a batch that arrived at a time, which is not before the last one's.
func (w *Writer) Write(at time.Time, b *model.Batch) error {
	rows, err := encodeBatch(b, at.UnixNano())
	if err != nil {
		return err
	}
	return w.WriteFrame(&Frame{At: at.UnixNano(), Counts: countsOf(b), raw: batchFrame(at.UnixNano(), b, rows)})
}

// WriteFrame writes a frame of another recording. The end is not written: Close writes the recording's own.
func (w *Writer) WriteFrame(f *Frame) error {
	if f.End != nil {
		return nil
	}
	if w.out == nil {
		return errors.New("write recording: it was closed")
	}
	if w.out.n >= w.size {
		if err := w.closeSegment(End{At: time.Unix(0, w.last)}); err != nil {
			return err
		}
		if err := w.openSegment(); err != nil {
			return err
		}
	}
	if _, err := w.zip.Write(f.raw); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	w.last = max(w.last, f.At)
	w.manifest.Items.Add(f.Counts)
	if now := time.Now(); now.Sub(w.flushed) >= flushEvery {
		w.flushed = now
		if err := w.zip.Flush(); err != nil {
			return fmt.Errorf("write recording: %w", err)
		}
	}
	return nil
}

func (w *Writer) openSegment() (err error) {
	h := *w.header
	h.Segment = uint64(len(w.manifest.Segments) + 1)
	if w.file, err = os.Create(filepath.Join(w.dir, segmentName(h.Segment))); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	w.out = &counted{w: w.file}
	if w.zip == nil {
		w.zip, err = zstd.NewWriter(w.out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window),
			zstd.WithEncoderConcurrency(1))
		if err != nil {
			return fmt.Errorf("write recording: %w", err)
		}
	} else {
		w.zip.Reset(w.out)
	}
	if _, err := w.zip.Write(append([]byte(magic), headerFrame(h)...)); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

func segmentName(n uint64) string { return fmt.Sprintf("%06d%s", n, segmentSuffix) }

func (w *Writer) closeSegment(end End) error {
	_, err := w.zip.Write(endFrame(end))
	err = errors.Join(err, w.zip.Close(), w.file.Sync(), w.file.Close())
	w.manifest.Segments = append(w.manifest.Segments,
		Segment{File: filepath.Base(w.file.Name()), Bytes: w.out.n})
	w.file, w.out = nil, nil
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	w.manifest.End = end.At.UTC()
	return w.writeManifest()
}

func (w *Writer) writeManifest() error {
	text, err := json.MarshalIndent(w.manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	name := filepath.Join(w.dir, ManifestName)
	f, err := os.Create(name + ".tmp")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(name+".tmp", name)
	}
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return syncDir(w.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close ends the recording at a time. One that was never begun leaves no directory.
func (w *Writer) Close(at time.Time) error {
	if w.header == nil {
		return os.Remove(w.dir)
	}
	if w.out == nil {
		return nil // closed, or broken
	}
	w.manifest.Complete = true
	return w.closeSegment(End{At: time.Unix(0, max(w.last, at.UnixNano()))})
}

// Recording is a directory, or a single file, that was opened for reading.
type Recording struct {
	Header Header

	files  []string
	damage []Damage
	end    time.Time
}

// Open finds a recording's files. Nothing is read but the first one's header.
func Open(path string) (*Recording, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	r := &Recording{files: []string{path}}
	if info.IsDir() {
		r.files = nil
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("open recording: %w", err)
		}
		for _, e := range entries { // in order of name, which is that of time
			if strings.HasSuffix(e.Name(), segmentSuffix) && !e.IsDir() {
				r.files = append(r.files, filepath.Join(path, e.Name()))
			}
		}
		if len(r.files) == 0 {
			return nil, fmt.Errorf("open recording %s: it has no *%s: %w", path, segmentSuffix, ErrFormat)
		}
		if err := r.checkManifest(path); err != nil {
			return nil, err
		}
	}
	in, err := openFile(r.files[0])
	if err != nil {
		return nil, fmt.Errorf("open recording %s: %w", r.files[0], err)
	}
	r.Header = in.Header
	return r, in.Close()
}

// checkManifest notes files that the manifest names and that are not there. Without a manifest, as a crash leaves a short
// recording, there is nothing to compare with.
func (r *Recording) checkManifest(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		r.damage = append(r.damage, Damage{File: ManifestName, Reason: err.Error()})
		return nil
	}
	if known := int(magic[len(magic)-1]); m.Format > known {
		return fmt.Errorf("open recording %s: format %d, known is %d: %w", dir, m.Format, known, ErrVersion)
	}
	for _, s := range m.Segments {
		if !slices.Contains(r.files, filepath.Join(dir, s.File)) {
			r.damage = append(r.damage, Damage{File: s.File, Reason: "the file is missing"})
		}
	}
	return nil
}

// openReader is a Reader with what it reads from.
type openReader struct {
	*Reader
	file *os.File
	zip  *zstd.Decoder
}

func (o *openReader) Close() error {
	if o.zip != nil {
		o.zip.Close()
	}
	return o.file.Close()
}

// openFile opens a segment, or a stream as it came from a server, compressed or not.
func openFile(name string) (o *openReader, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	o = &openReader{file: f}
	defer func() {
		if err != nil {
			_ = o.Close()
		}
	}()
	begin := make([]byte, 4)
	n, err := io.ReadFull(f, begin)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var in io.Reader = f
	if string(begin[:n]) != magic[:min(n, 4)] {
		// One goroutine, in order: what can be read of a torn file is read. Memory is bounded, whatever the file asks for.
		if o.zip, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(4*window)); err != nil {
			return nil, err
		}
		in = o.zip
	}
	o.Reader, err = NewReader(in)
	return o, err
}

// Frames yields all batches in order of arrival. A file that is damaged yields what stands before the damage; see
// Damage. The error is that of the context, or of a disk; it comes last.
func (r *Recording) Frames(ctx context.Context) iter.Seq2[*Frame, error] {
	return func(yield func(*Frame, error) bool) {
		last := r.Header.Start.UnixNano()
		for _, name := range r.files {
			more, err := r.readFile(ctx, name, &last, yield)
			if err != nil {
				yield(nil, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

func (r *Recording) readFile(ctx context.Context, name string, last *int64, yield func(*Frame, error) bool) (more bool, err error) {
	spoilt := func(at int64, err error) {
		r.damage = append(r.damage, Damage{File: filepath.Base(name), Offset: at, Torn: errors.Is(err, io.ErrUnexpectedEOF), Reason: err.Error()})
	}
	in, err := openFile(name)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return false, fmt.Errorf("read recording: %w", err)
	case err != nil:
		spoilt(0, err)
		return true, nil
	}
	defer in.Close()
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		f, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case errors.As(err, &path):
			return false, fmt.Errorf("read recording: %w", err)
		case err != nil:
			spoilt(in.at, err)
			return true, nil
		}
		// Two edges may be in each other's way, or the server's clock was set back: time in a recording isn't.
		f.At = max(f.At, *last)
		*last = f.At
		r.end = time.Unix(0, f.At).UTC()
		if f.End == nil && !yield(f, nil) {
			return false, nil
		}
	}
}

// End is when the recording ended; it is known after all frames.
func (r *Recording) End() time.Time { return r.end }

// Damage is what could not be read; it is known after all frames.
func (r *Recording) Damage() []Damage { return slices.Clone(r.damage) }
