// How OHIF is set up here: one source of data, which is this archive as who is signed in may see it, and nothing else.
"use strict";
window.config = {
  name: "strongroom",
  routerBasename: "/ohif",
  extensions: [],
  modes: [],
  customizationService: [{ "ohif.tours": { $set: [] } }],
  showStudyList: false,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  strictZSpacingForVolumeViewport: true,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 10 },
  showErrorDetails: "production",
  investigationalUseDialog: { option: "configure", days: 30 },
  whiteLabeling: {
    createLogoComponentFn: (React) =>
      React.createElement("a", { href: "/studies", className: "text-primary text-lg px-2" }, "Studies"),
  },
  defaultDataSourceName: "archive",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "archive",
      configuration: {
        friendlyName: "This archive",
        name: "archive",
        qidoRoot: "/dicomweb",
        wadoRoot: "/dicomweb",
        qidoSupportsIncludeField: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        supportsReject: false,
        dicomUploadEnabled: false,
        enableStudyLazyLoad: true,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        singlepart: "pdf,video",
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: false,
      },
    },
  ],
  httpErrorHandler: (error) => {
    if (error.status !== 401) return;
    const here = window.location.pathname + window.location.search;
    window.location.assign("/sign-in?next=" + encodeURIComponent(here));
  },
};
