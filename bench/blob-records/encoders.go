// Compresses standard input with an encoder of Go: ENCODER LEVEL, as layers.sh calls it.
package main

import (
	"compress/gzip"
	"io"
	"os"
	"strconv"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

func main() {
	level, _ := strconv.Atoi(os.Args[2])
	var w io.WriteCloser
	var err error
	switch os.Args[1] {
	case "go":
		w, err = gzip.NewWriterLevel(os.Stdout, level)
	case "kgzip":
		w, err = kgzip.NewWriterLevel(os.Stdout, level)
	case "pgzip":
		var p *pgzip.Writer
		p, err = pgzip.NewWriterLevel(os.Stdout, level)
		if err == nil {
			err = p.SetConcurrency(1<<20, 2)
		}
		w = p
	case "kzstd":
		w, err = zstd.NewWriter(os.Stdout, zstd.WithEncoderLevel(zstd.EncoderLevel(level)))
	}
	if err != nil {
		panic(err)
	}
	if _, err := io.Copy(w, os.Stdin); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
}
