// step-ca's server without the key stores of clouds and hardware, and the key of a provisioner as `step ca init` makes it.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
	_ "github.com/smallstep/certificates/cas/softcas"
	"go.step.sm/crypto/jose"
	_ "go.step.sm/crypto/kms/softkms"
)

func main() {
	run := map[string]func(string) error{"serve": serve, "provisioner": provisioner}
	if len(os.Args) != 3 || run[os.Args[1]] == nil {
		log.Fatal("usage: step serve CA.JSON, or step provisioner PASSWORD")
	}
	if err := run[os.Args[1]](os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func serve(file string) error {
	configuration, err := config.LoadConfiguration(file)
	if err != nil {
		return err
	}
	server, err := ca.New(configuration)
	if err != nil {
		return err
	}
	return server.Run()
}

func provisioner(password string) error {
	public, private, err := jose.GenerateDefaultKeyPair([]byte(password))
	if err != nil {
		return err
	}
	encrypted, err := private.CompactSerialize()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"key": public, "encryptedKey": encrypted})
}
