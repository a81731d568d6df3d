import java.net.ProxySelector;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Gets a URL with java.net.http and prints the page; the trust store is a system property. Get URL [PROXY-HOST PROXY-PORT] */
public class Get {
    public static void main(String[] args) throws Exception {
        HttpClient.Builder client = HttpClient.newBuilder();
        if (args.length > 1) {
            client.proxy(ProxySelector.of(new InetSocketAddress(args[1], Integer.parseInt(args[2]))));
        }
        HttpResponse<String> answer = client.build().send(HttpRequest.newBuilder(URI.create(args[0])).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
        System.exit(0);
    }
}
