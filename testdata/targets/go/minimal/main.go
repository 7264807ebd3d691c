// Command minimal imports little: it is there to be compiled.
package main

import "os"

func main() {
	if len(os.Args) > 1 {
		os.Exit(len(os.Args))
	}
}
