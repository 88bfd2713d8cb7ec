package manifest

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is a text with documents in YAML, of which JSON is a part.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Problem is something that is wrong with a file.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // from 1; 0 where none is known
	// Resource is the kind and name of the document, Path the place in it.
	Resource string `json:"resource,omitempty"`
	Path     string `json:"path,omitempty"`
	Message  string `json:"message"`
}

// String is the problem in a line, as compilers write it.
func (p Problem) String() string {
	out := p.Place()
	for _, part := range []string{p.Resource, p.Path, p.Message} {
		if part != "" {
			out += ": " + part
		}
	}
	return out
}

// Place is the file and the line.
func (p Problem) Place() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Problems are all that is wrong with a set of files.
type Problems []Problem

// Error lists them, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// resource is a document that was read.
type resource struct {
	kind *kind
	name string
	body []byte // as it is stored
	file string
	node *yaml.Node // its mapping
}

func (r *resource) title() string { return r.kind.name + " " + r.name }

// problem tells where in the document something is wrong.
func (r *resource) problem(path, format string, args ...any) Problem {
	return Problem{File: r.file, Line: lineOf(r.node, path), Resource: r.title(), Path: path, Message: fmt.Sprintf(format, args...)}
}

// maxText bounds all files together.
const maxText = 8 << 20

// read reads all documents of all files, and says everything that is wrong with them.
func read(files []File) (out []*resource, problems Problems) {
	size := 0
	for _, f := range files {
		size += len(f.Text)
	}
	if size > maxText {
		return nil, Problems{{File: files[0].Name, Message: fmt.Sprintf("all files together have %d bytes, at most %d are allowed", size, maxText)}}
	}
	first := map[string]*resource{}
	for _, f := range files {
		list, wrong := readFile(f)
		problems = append(problems, wrong...)
		for _, r := range list {
			if before := first[r.title()]; before != nil {
				problems = append(problems, r.problem("metadata.name", "it stands in %s:%d already", before.file, before.node.Line))
				continue
			}
			first[r.title()] = r
			out = append(out, r)
		}
	}
	return out, problems
}

func readFile(f File) (out []*resource, problems Problems) {
	// Nodes know lines and kinds, and a second decoder fills the types that they call for, strictly.
	nodes, typed := yaml.NewDecoder(strings.NewReader(f.Text)), yaml.NewDecoder(strings.NewReader(f.Text))
	typed.KnownFields(true)
	for {
		var doc yaml.Node
		if err := nodes.Decode(&doc); errors.Is(err, io.EOF) {
			return out, problems
		} else if err != nil {
			line, what := yamlLine(err.Error())
			return out, append(problems, Problem{File: f.Name, Line: line, Message: what})
		}
		r, wrong := readDocument(f.Name, &doc, typed)
		problems = append(problems, wrong...)
		if r != nil && len(wrong) == 0 {
			out = append(out, r)
		}
	}
}

// readDocument reads one document; nothing if it is empty.
func readDocument(file string, doc *yaml.Node, typed *yaml.Decoder) (*resource, Problems) {
	skip := func(line int, format string, args ...any) (*resource, Problems) {
		var any yaml.Node
		_ = typed.Decode(&any) // it was decoded once already
		if format == "" {
			return nil, nil
		}
		return nil, Problems{{File: file, Line: line, Message: fmt.Sprintf(format, args...)}}
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return skip(0, "")
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return skip(root.Line, "a document is an object with apiVersion, kind, metadata and spec")
	}
	k, err := kindOf(scalar(root, "apiVersion"), scalar(root, "kind"))
	if err != nil {
		return skip(lineOf(root, "kind"), "%s", err)
	}
	r := &resource{kind: k, name: scalar(child(root, "metadata"), "name"), file: file, node: root}
	var problems Problems
	name, body, err := k.read(typed.Decode)
	for _, e := range flatten(err) {
		problems = append(problems, r.decodeProblem(e)...)
	}
	r.name, r.body = name, body
	return r, problems
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range list.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

var (
	unknownField = regexp.MustCompile(`^field (.+) not found in type `)
	pathPattern  = regexp.MustCompile(`^([A-Za-z_][\w]*(?:\.[\w]+|\[\d+\])*): `)
)

// decodeProblem gives what a decoder, or a validation, says its place.
func (r *resource) decodeProblem(err error) (out Problems) {
	var types *yaml.TypeError
	if errors.As(err, &types) {
		for _, message := range types.Errors {
			line, what := yamlLine(message)
			path := ""
			walk(r.node, "", func(at string, key, value *yaml.Node) {
				m := unknownField.FindStringSubmatch(what)
				switch {
				case path != "" || key == nil || key.Line != line && value.Line != line:
				case m != nil && key.Value == m[1]:
					path = at
				case m == nil && value.Kind == yaml.ScalarNode && strings.Contains(what, "`"+value.Value+"`"):
					path = at
				}
			})
			if m := unknownField.FindStringSubmatch(what); m != nil {
				what = "unknown key " + strconv.Quote(m[1])
			}
			out = append(out, Problem{File: r.file, Line: line, Resource: r.title(), Path: path, Message: what})
		}
		return out
	}
	message := err.Error()
	if m := pathPattern.FindStringSubmatch(message); m != nil && (strings.HasPrefix(m[1], "spec") || strings.HasPrefix(m[1], "metadata") || m[1] == "apiVersion" || m[1] == "kind") {
		return Problems{r.problem(m[1], "%s", message[len(m[0]):])}
	}
	// What a type's own reader refuses has no place but the value that it quotes.
	p := r.problem("", "%s", message)
	walk(r.node, "", func(at string, _, value *yaml.Node) {
		if p.Path == "" && value.Kind == yaml.ScalarNode && value.Value != "" && strings.Contains(message, strconv.Quote(value.Value)) {
			p.Path, p.Line = at, value.Line
		}
	})
	return Problems{p}
}

// ownerProblem gives what an owner says of a spec its place: the path that it begins with, if there is such a thing.
func (r *resource) ownerProblem(err error) Problem {
	message := strings.Join(strings.Fields(err.Error()), " ")
	path := "spec"
	if m := pathPattern.FindStringSubmatch(message); m != nil {
		walk(r.node, "", func(at string, _, _ *yaml.Node) {
			if at == "spec."+m[1] {
				path, message = at, message[len(m[0]):]
			}
		})
	}
	return r.problem(path, "%s", message)
}

// yamlLine takes "yaml: line 3: what" apart.
func yamlLine(message string) (int, string) {
	message = strings.TrimPrefix(message, "yaml: ")
	rest, ok := strings.CutPrefix(message, "line ")
	number, what, found := strings.Cut(rest, ": ")
	if line, err := strconv.Atoi(number); ok && found && err == nil {
		return line, what
	}
	return 0, message
}

// walk visits all values below a node, with their keys where they have one.
func walk(n *yaml.Node, at string, visit func(path string, key, value *yaml.Node)) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			path := strings.TrimPrefix(at+"."+n.Content[i].Value, ".")
			visit(path, n.Content[i], n.Content[i+1])
			walk(n.Content[i+1], path, visit)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			path := fmt.Sprintf("%s[%d]", at, i)
			visit(path, nil, c)
			walk(c, path, visit)
		}
	}
}

// lineOf is the line of a path, or of the nearest thing above it that is there.
func lineOf(root *yaml.Node, path string) int {
	line, best := root.Line, 0
	walk(root, "", func(at string, key, value *yaml.Node) {
		below := path == at || strings.HasPrefix(path, at) && slices.Contains([]byte{'.', '['}, path[len(at)])
		if below && len(at) > best {
			best, line = len(at), value.Line
			if key != nil {
				line = key.Line
			}
		}
	})
	return line
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node, key string) string {
	if c := child(n, key); c != nil && c.Kind == yaml.ScalarNode {
		return c.Value
	}
	return ""
}
