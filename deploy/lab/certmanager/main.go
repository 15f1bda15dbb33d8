// cert-manager's controllers for issuers with a CA of their own: its server, without what it has for ACME, clouds and vaults.
package main

import (
	"context"
	"log"
	"os"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	requests "github.com/cert-manager/cert-manager/pkg/controller/certificatesigningrequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: certmanager KUBECONFIG NAMESPACE-OF-CLUSTERISSUERS")
	}
	ctx := context.Background()
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig:         os.Args[1],
		KubernetesAPIQPS:   50,
		KubernetesAPIBurst: 50,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: os.Args[2]},
	})
	if err != nil {
		log.Fatal(err)
	}
	names := []string{issuers.ControllerName, clusterissuers.ControllerName, approver.ControllerName, ca.CRControllerName, requests.CSRControllerName}
	for _, name := range names {
		run, err := controller.Known()[name](factory)
		if err != nil {
			log.Fatal(name, ": ", err)
		}
		go func() { log.Fatal(name, ": ", run.Run(1, ctx)) }()
	}
	shared, err := factory.Build()
	if err != nil {
		log.Fatal(err)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	select {}
}
