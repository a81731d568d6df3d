import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** A client of Java: Client http1.1|h2 PORT HOST PATH CA [PKCS12]. Prints "PROTOCOL STATUS BODY". */
public class Client {
    public static void main(String[] args) throws Exception {
        KeyStore anchors = KeyStore.getInstance(KeyStore.getDefaultType());
        anchors.load(null, null);
        try (FileInputStream in = new FileInputStream(args[4])) {
            anchors.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(anchors);
        KeyManager[] keys = null;
        if (args.length > 5) {
            KeyStore own = KeyStore.getInstance("PKCS12");
            try (FileInputStream in = new FileInputStream(args[5])) {
                own.load(in, "secret".toCharArray());
            }
            KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            factory.init(own, "secret".toCharArray());
            keys = factory.getKeyManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys, trust.getTrustManagers(), null);
        HttpClient client = HttpClient.newBuilder().sslContext(context).connectTimeout(Duration.ofSeconds(10))
            .version(args[0].equals("h2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create("https://" + args[2] + ":" + args[1] + args[3])).timeout(Duration.ofSeconds(10)).build();
        try {
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println((response.version() == HttpClient.Version.HTTP_2 ? "h2 " : "http/1.1 ") + response.statusCode() + " " + response.body());
        } catch (java.io.IOException err) {
            for (Throwable cause = err; cause != null; cause = cause.getCause()) {
                System.out.println("ERROR " + cause);
            }
            System.exit(1);
        }
    }
}
