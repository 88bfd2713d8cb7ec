// Package web carries the web page inside the program. make build has Vite build the sources beside this file into dist, which
// is not kept in git: without Node.js the program still builds, and a page in its place says how to get the real one.
package web

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Files are index.html and assets/, as built, and placeholder.html, which stands in for them where nothing was built.
func Files() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("BUG: " + err.Error()) // the name is valid
	}
	return sub
}
