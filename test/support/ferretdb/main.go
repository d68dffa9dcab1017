// FerretDB speaks the MongoDB protocol on top of SQLite. This program runs it for the tests where no real mongod can be
// had. It prints the URL it listens on, and ends when its standard input closes, so that it never outlives its maker.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func run() error {
	folder, err := os.MkdirTemp("", "pgstream-ferretdb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)

	server, err := ferretdb.New(&ferretdb.Config{
		// Silent: writing to a pipe whose reader has died would end the program before it has cleaned up.
		Logger:    slog.New(slog.DiscardHandler),
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	// The URL is known once Run listens.
	go func() { fmt.Println(server.MongoDBURI()) }()
	return server.Run(ctx)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
